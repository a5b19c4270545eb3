package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/exporter/discovery"
	"ipsec_path_exporter/exporter/readers"
)

func gatewayCommand(app *kingpin.Application) (*kingpin.CmdClause, *readers.Options) {
	o := &readers.Options{Stdout: os.Stdout, Stderr: os.Stderr, Discover: discovery.New(slog.New(slog.DiscardHandler)).Complete}
	c := app.Command("gateway", "Read the SA table of a gateway once and print it. "+
		"Exits 0 if all tunnels expected there are up, 1 if a tunnel is down, 2 if the gateway could not be read or does not report its tunnels; see docs/gateways.md.")
	c.Arg("name", "Name of the gateway (default: all of them).").StringVar(&o.Name)
	c.Flag("config.file", "Configuration file (YAML) with gateways (default: strongSwan, Libreswan and the kernel of this host).").StringVar(&o.ConfigFile)
	c.Flag("output", "Form of the table: text or json.").Default("text").StringVar(&o.Output)
	c.Flag("record", "Also write a redacted transcript of the commands and outputs to this file, for bug reports.").
		PlaceHolder("FILE").StringVar(&o.Record)
	return c, o
}

// runGateway prints problems to standard error, and the table to standard output.
func runGateway(ctx context.Context, o *readers.Options) int {
	return exitCode(readers.Run(ctx, *o), readers.ErrTunnelDown)
}
