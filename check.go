package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/exporter"
)

func checkCommand(app *kingpin.Application) (*kingpin.CmdClause, *exporter.CheckOptions) {
	o := &exporter.CheckOptions{Stdout: os.Stdout, Stderr: os.Stderr}
	c := app.Command("check", "Measure once and print a report. Exits 0 if no fault was found, 1 if one was, 2 if it could not measure.")
	c.Arg("target", "Addresses, or with --config.file names of peers (none: all of them).").StringsVar(&o.Targets)
	c.Flag("config.file", "Configuration file (YAML) whose peers to check.").StringVar(&o.ConfigFile)
	c.Flag("output", "Form of the report: text, markdown or json.").Default("text").StringVar(&o.Output)
	c.Flag("via", "Measure over this way out: an interface or a source address. Repeatable: the same over each, side by side.").
		PlaceHolder("INTERFACE|SOURCE").StringsVar(&o.Via)
	c.Flag("pcap", "Write every probe and answer to this file, with a comment each, for Wireshark (pcapng).").PlaceHolder("FILE").StringVar(&o.Pcap)
	c.Flag("timeout", "Give up on a peer after this long (with several ways out, on each).").Default("2m").DurationVar(&o.Timeout)
	return c, o
}

// runCheck prints problems to standard error, and the report to standard output.
func runCheck(ctx context.Context, o *exporter.CheckOptions) int {
	return exitCode(exporter.Check(ctx, *o), exporter.ErrFault)
}

// exitCode is what a command that looks once ends with: fault is the error of having found something, which its output has told already. Any other
// is printed.
func exitCode(err, fault error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, fault):
		return exitFault
	}
	fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %v\n", err)
	return exitUnable
}
