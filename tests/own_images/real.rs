//! Builds by a real docker daemon: the one that `DOCKER_HOST` names, or the machine's own.
//!
//! What is built here is made of the machine's static busybox and nothing else, so that no registry is needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, RemoveImageOptions};
use bottle::bundle::Docker;
use bottle::own_images::{
    BuildProgress, BuildTerms, Context, Ensured, HASH_LABEL, OwnImageError, Recipe, ensure,
};
use tokio::sync::Notify;

/// A build of one layer takes a second or two; the machine has other work.
const TEST_MAX: Duration = Duration::from_secs(180);

/// What a stopped build may take to end in docker. It is asked again and again.
const END_MAX: Duration = Duration::from_secs(30);

/// A docker daemon, the locks, and a name that no other test has; the image goes with it.
struct Bench {
    docker: Docker,
    terms: BuildTerms,
    name: String,
    _locks: tempfile::TempDir,
}

impl Bench {
    /// Runs one test, bounded in time, and removes what it has built.
    async fn run(test: impl AsyncFnOnce(&Self)) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let locks = tempfile::tempdir().expect("a directory");
        let bench = Self {
            docker: Docker::connect().await.expect("a docker daemon"),
            terms: BuildTerms::new(locks.path().join("builds")),
            name: format!("bottle-test/own-image-{process}-{number}:1"),
            _locks: locks,
        };
        let in_time = tokio::time::timeout(TEST_MAX, test(&bench)).await;
        let force = RemoveImageOptions { force: true, ..RemoveImageOptions::default() };
        // There is none where none was to be built.
        drop(bench.docker.api().remove_image(&bench.name, Some(force), None).await);
        in_time.unwrap_or_else(|_| panic!("not done within {TEST_MAX:?}"));
    }

    /// An image whose Dockerfile ends in this.
    fn recipe(&self, end: &str) -> Recipe {
        let busybox = std::fs::read("/bin/busybox").expect("a static /bin/busybox (Debian: busybox-static)");
        let dockerfile = format!("FROM scratch\nCOPY busybox /bin/busybox\n{end}\n");
        let context = Context::new().file("Dockerfile", dockerfile.into_bytes()).program("busybox", busybox);
        Recipe::new(&self.name, context)
    }

    /// Has it built, if need be, and returns what came of it, and what was told meanwhile.
    async fn ensure(&self, recipe: &Recipe) -> (Result<Ensured, OwnImageError>, Vec<BuildProgress>) {
        self.ensure_with(recipe, &self.terms, std::future::pending()).await
    }

    async fn ensure_with(
        &self,
        recipe: &Recipe,
        terms: &BuildTerms,
        stop: impl Future<Output = ()>,
    ) -> (Result<Ensured, OwnImageError>, Vec<BuildProgress>) {
        let mut told = Vec::new();
        let mut tell = |progress: &BuildProgress| told.push(progress.clone());
        let ensured = ensure(&self.docker, recipe, terms, stop, &mut tell).await;
        (ensured, told)
    }

    async fn builds(&self, recipe: &Recipe) -> Vec<BuildProgress> {
        let (ensured, told) = self.ensure(recipe).await;
        assert!(matches!(ensured.expect("a build"), Ensured::Built(_)), "it was there: {told:?}");
        told
    }

    async fn finds(&self, recipe: &Recipe) {
        let (ensured, told) = self.ensure(recipe).await;
        assert_eq!(ensured.expect("an image"), Ensured::There);
        assert_eq!(told, [], "nothing is to be told");
    }

    /// The ID and the hash in the label of what has the name.
    async fn image(&self) -> Option<(String, Option<String>)> {
        let image = self.docker.api().inspect_image(&self.name).await.ok()?;
        let label = image.config.and_then(|config| config.labels?.get(HASH_LABEL).cloned());
        Some((image.id?, label))
    }

    /// Containers of builds that print this, running or not.
    async fn containers(&self, mark: &str) -> usize {
        let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let containers = self.docker.api().list_containers(Some(all)).await.expect("containers");
        containers.iter().filter(|one| one.command.as_ref().is_some_and(|words| words.contains(mark))).count()
    }
}

/// A step of a Dockerfile, without a shell in the way.
fn run(script: &str) -> String {
    format!(r#"RUN ["/bin/busybox", "sh", "-c", "{script}"]"#)
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn an_image_is_built_once_and_again_when_it_is_made_of_something_else() {
    Bench::run(async |bench| {
        let first = bench.recipe(&run("echo one > /one; echo said; exec /bin/busybox true"));
        let told = bench.builds(&first).await;
        let steps: Vec<_> = told.iter().filter_map(|progress| progress.step).collect();
        assert!(steps.contains(&(1, 4)) && steps.contains(&(4, 4)), "three, and the label: {told:?}");
        assert!(
            told.iter().any(|progress| progress.step == Some((3, 4)) && progress.line == "said"),
            "{told:?}"
        );
        let (id, label) = bench.image().await.expect("the image");
        assert_eq!(label, Some(first.hash()));
        bench.finds(&first).await;

        let second = bench.recipe(&run("echo two > /one"));
        bench.builds(&second).await;
        let (other, label) = bench.image().await.expect("the image");
        assert_eq!(label, Some(second.hash()));
        assert_ne!(id, other);
        assert!(bench.docker.api().inspect_image(&id).await.is_err(), "the older one only takes space");
        bench.finds(&second).await;

        let mut forced = bench.terms.clone();
        forced.force = true;
        let (ensured, told) = bench.ensure_with(&second, &forced, std::future::pending()).await;
        assert!(matches!(ensured, Ok(Ensured::Built(_))), "{ensured:?}");
        assert!(!told.iter().any(|progress| progress.line.contains("Using cache")), "{told:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn an_image_that_somebody_else_made_is_built_anew() {
    Bench::run(async |bench| {
        let recipe = bench.recipe("CMD [\"/bin/busybox\", \"true\"]");
        let tar = {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(13);
            tar.append_data(&mut header, "Dockerfile", b"FROM scratch\n".as_slice()).expect("entry");
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            tar.append_data(&mut header, "empty", b"".as_slice()).expect("entry");
            tar.into_inner().expect("tar")
        };
        let options = bollard::query_parameters::CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: bench.name.split_once(':').map(|(name, _)| name.to_owned()),
            tag: Some("1".to_owned()),
            ..Default::default()
        };
        let imported =
            bench.docker.api().create_image(Some(options), Some(bollard::body_full(tar.into())), None);
        let imported: Vec<_> = futures_util::StreamExt::collect(imported).await;
        assert!(imported.iter().all(Result::is_ok), "{imported:?}");
        let (theirs, label) = bench.image().await.expect("the image");
        assert_eq!(label, None);

        bench.builds(&recipe).await;
        assert_eq!(bench.image().await.expect("the image").1, Some(recipe.hash()));
        let kept = bench.docker.api().inspect_image(&theirs).await;
        assert!(kept.is_ok(), "what is not ours is not removed");
        drop(bench.docker.api().remove_image(&theirs, None::<RemoveImageOptions>, None).await);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn arguments_and_certificates_reach_the_build() {
    Bench::run(async |bench| {
        let mut recipe = bench.recipe(&format!(
            "ARG WHAT=nothing\nCOPY certificates/ /c/\n{}",
            run("echo what=$WHAT; /bin/busybox cat /c/machine.crt")
        ));
        recipe.context = recipe.context.file("certificates/README", b"none");
        recipe.arguments.insert("WHAT".to_owned(), "this".to_owned());
        let ca = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(ca.path(), "-----BEGIN CERTIFICATE-----\nMAECAwQF\n-----END CERTIFICATE-----\n")
            .expect("written");
        let mut terms = bench.terms.clone();
        terms.ca = Some(ca.path().to_owned());
        let (ensured, told) = bench.ensure_with(&recipe, &terms, std::future::pending()).await;
        assert!(ensured.is_ok(), "{ensured:?}");
        for line in ["what=this", "MAECAwQF"] {
            assert!(told.iter().any(|progress| progress.line == line), "{line}: {told:?}");
        }
        // They are no part of what it is made of, and are read only where there is something to build.
        bench.finds(&recipe).await;
        std::fs::write(ca.path(), "no PEM").expect("written");
        let (ensured, _) = bench.ensure_with(&recipe, &terms, std::future::pending()).await;
        assert_eq!(ensured.expect("an image"), Ensured::There);
        recipe.arguments.clear();
        let (ensured, told) = bench.ensure_with(&recipe, &terms, std::future::pending()).await;
        assert!(matches!(ensured, Err(OwnImageError::Certificates { .. })), "{ensured:?}");
        assert_eq!(told, []);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_failure_has_docker_s_words_and_leaves_nothing() {
    Bench::run(async |bench| {
        let recipe = bench.recipe(&run("echo out; echo err-79 >&2; exit 79"));
        let error = bench.ensure(&recipe).await.0.expect_err("a failure").to_string();
        for part in [&*bench.name, "returned a non-zero code: 79", "\nout", "\nerr-79"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(bench.image().await, None);
        assert_eq!(bench.containers("err-79").await, 0);

        let error =
            bench.ensure(&bench.recipe("COPY not-there /")).await.0.expect_err("a failure").to_string();
        assert!(error.contains("not-there"), "{error}");
        let unreachable =
            Recipe::new(&bench.name, Context::new().file("Dockerfile", b"FROM registry.invalid/none:1\n"));
        let error = bench.ensure(&unreachable).await.0.expect_err("a failure");
        assert!(error.hint().is_some_and(|hint| hint.contains("needs its registries")), "{error}");
        let nonsense = Recipe::new(&bench.name, Context::new().file("Dockerfile", b"BAKE bread\n"));
        let error = bench.ensure(&nonsense).await.0.expect_err("a failure").to_string();
        assert!(error.to_uppercase().contains("BAKE"), "{error}");
        let nothing = Recipe::new(&bench.name, Context::new());
        assert!(bench.ensure(&nothing).await.0.is_err());
        assert_eq!(bench.image().await, None);
        // A build that works goes on from there.
        bench.builds(&bench.recipe("CMD [\"true\"]")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_stopped_build_ends_and_leaves_nothing() {
    Bench::run(async |bench| {
        let recipe = bench.recipe(&run("echo begun; sleep 170; echo mark-5318"));
        let begun = Notify::new();
        let mut tell = |progress: &BuildProgress| {
            if progress.line == "begun" {
                begun.notify_one();
            }
        };
        let stop = async {
            begun.notified().await;
            assert_eq!(bench.containers("mark-5318").await, 1);
        };
        let stopped = ensure(&bench.docker, &recipe, &bench.terms, stop, &mut tell).await;
        assert!(matches!(stopped, Err(OwnImageError::Stopped { .. })), "{stopped:?}");
        let ended = async {
            while bench.containers("mark-5318").await > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(END_MAX, ended).await.expect("the build's container is gone");
        assert_eq!(bench.image().await, None);

        let at_once = bench.ensure_with(&recipe, &bench.terms, std::future::ready(())).await;
        assert!(matches!(at_once, (Err(OwnImageError::Stopped { .. }), told) if told.is_empty()));
        // The lock is free.
        bench.builds(&bench.recipe("CMD [\"true\"]")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn two_at_once_build_once() {
    Bench::run(async |bench| {
        // Of the docker daemon's cache, neither is to be had.
        let recipe = bench.recipe(&run(&format!("echo {}; sleep 2", bench.name)));
        let ((first, first_told), (second, second_told)) =
            tokio::join!(bench.ensure(&recipe), bench.ensure(&recipe));
        let built =
            [&first, &second].into_iter().filter(|ensured| matches!(ensured, Ok(Ensured::Built(_)))).count();
        assert_eq!(built, 1, "{first:?}, {second:?}");
        let waited = if matches!(first, Ok(Ensured::There)) { first_told } else { second_told };
        let lines: Vec<_> = waited.iter().map(|progress| progress.line.as_str()).collect();
        assert_eq!(lines, ["waiting for another build of it"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn who_waits_for_another_build_can_be_stopped() {
    Bench::run(async |bench| {
        let slow = bench.recipe(&run("echo begun; sleep 5"));
        let (begun, waits) = (Arc::new(Notify::new()), Notify::new());
        let mut tell_builder = |progress: &BuildProgress| {
            if progress.line == "begun" {
                begun.notify_one();
            }
        };
        let builder = ensure(&bench.docker, &slow, &bench.terms, std::future::pending(), &mut tell_builder);
        let waiter = async {
            begun.notified().await;
            let mut tell = |_: &BuildProgress| waits.notify_one();
            ensure(&bench.docker, &slow, &bench.terms, waits.notified(), &mut tell).await
        };
        let (built, stopped) = tokio::join!(builder, waiter);
        assert!(matches!(built, Ok(Ensured::Built(_))), "{built:?}");
        assert!(matches!(stopped, Err(OwnImageError::Stopped { .. })), "{stopped:?}");
        let dangling = ListImagesOptions {
            filters: Some(HashMap::from([(
                "label".to_owned(),
                vec![format!("{HASH_LABEL}={}", slow.hash())],
            )])),
            ..ListImagesOptions::default()
        };
        let images = bench.docker.api().list_images(Some(dangling)).await.expect("images");
        assert_eq!(images.len(), 1, "{images:?}");
    })
    .await;
}
