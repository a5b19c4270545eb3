package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"ipsec_path_exporter/exporter/demo"
)

// A demonstration is the demo command. It must know whether the log level was set.
type demonstration struct {
	options  demo.Options
	levelSet bool
}

func demoCommand(app *kingpin.Application) (*kingpin.CmdClause, *demonstration) {
	d := &demonstration{options: demo.Options{Out: os.Stdout}}
	c := app.Command("demo", "Measure simulated providers with healthy peers, one peer per classic fault and a gateway with tunnels, and serve the results. "+
		"Needs no configuration, and no root where the system allows user namespaces. Leaves nothing behind.")
	c.Flag("web.listen-address", "Addresses of this host on which to expose metrics and web interface. Repeatable.").
		Default("localhost:10500").StringsVar(&d.options.Listen)
	c.Flag("once", "End with the verdict: exit code 0 as soon as every peer has the expected diagnoses, 1 after five minutes without.").
		BoolVar(&d.options.Once)
	app.GetFlag("log.level").IsSetByUser(&d.levelSet)
	return c, d
}

// run runs the demo. By default it logs warnings only, because it prints the diagnoses.
func (d *demonstration) run(ctx context.Context, logging *promslog.Config) int {
	var err error
	if !d.levelSet {
		err = logging.Level.Set("warn")
	}
	if err == nil {
		d.options.Log = promslog.New(logging)
		err = demo.Run(ctx, d.options)
	}
	switch {
	case err == nil:
		return exitOK
	case !errors.Is(err, demo.ErrReported):
		fmt.Fprintf(stderr(), "ipsec_path_exporter: error: %v\n", err)
	}
	return exitFault
}
