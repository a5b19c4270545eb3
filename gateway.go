package main

import (
	"context"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/exporter"
)

func gatewayCommand(app *kingpin.Application) (*kingpin.CmdClause, *exporter.GatewayOptions) {
	o := &exporter.GatewayOptions{Stdout: os.Stdout, Stderr: os.Stderr}
	c := app.Command("gateway", "Read the SA table of one configured gateway once and print it. "+
		"Exits 0 if all tunnels that are expected there are up, 1 if one is not, 2 if the gateway could not be read or does not tell; see docs/gateways.md.")
	c.Arg("name", "Name of the gateway.").Required().StringVar(&o.Name)
	c.Flag("config.file", "Configuration file (YAML) that has the gateway.").StringVar(&o.ConfigFile)
	c.Flag("output", "Form of the table: text or json.").Default("text").StringVar(&o.Output)
	c.Flag("record", "Also write what was asked and answered to this file, without what tells whose gateway it is; for bug reports.").
		PlaceHolder("FILE").StringVar(&o.Record)
	return c, o
}

// runGateway prints problems to standard error, and the table to standard output.
func runGateway(ctx context.Context, o *exporter.GatewayOptions) int {
	return exitCode(exporter.ReadGateway(ctx, *o), exporter.ErrTunnelDown)
}
