// Command rename changes the module path of the project, so that others can install it from where
// it is hosted. It rewrites go.mod, also of the nested modules, the imports, the linter's settings
// and the documents that name packages. It does not touch the name of the program.
//
//	go run ./tools/rename github.com/OWNER/ipsec_path_exporter
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments (usage: go run ./tools/rename MODULE-PATH)", len(args))
	}
	n, err := rename(ctx, ".", args[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.Stdout, "%d files rewritten; review them with git diff\n", n)
	return err
}
