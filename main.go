// Command aml-train trains models from git: it submits the training job of a
// repository, on this machine or in Azure Machine Learning, and reports what
// came out.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/org/aml-train/cli"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(cli.Main(os.Args[1:], signals))
}
