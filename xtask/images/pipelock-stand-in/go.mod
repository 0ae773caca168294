module github.com/luckyPipewrench/pipelock

go 1.23
