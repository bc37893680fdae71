// Command aml-train trains models from git: it submits the training job of a
// repository, on this machine or in Azure Machine Learning, and reports what
// came out.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/org/aml-train/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], stop)
	stop()
	os.Exit(code)
}
