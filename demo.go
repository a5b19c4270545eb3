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

// A demonstration is the demo command with what must be known of the other flags.
type demonstration struct {
	options  demo.Options
	levelSet bool
}

func demoCommand(app *kingpin.Application) (*kingpin.CmdClause, *demonstration) {
	d := &demonstration{options: demo.Options{Out: os.Stdout}}
	c := app.Command("demo", "Measure simulated providers with one healthy peer and one behind each classic fault, and serve what is found. "+
		"Needs no configuration, no root where the system allows user namespaces, and leaves nothing behind.")
	c.Flag("web.listen-address", "Addresses of this host on which to expose metrics and web interface. Repeatable.").
		Default("localhost:10500").StringsVar(&d.options.Listen)
	app.GetFlag("log.level").IsSetByUser(&d.levelSet)
	return c, d
}

// run shows the demonstration. It is quiet unless it is asked to log: what the log says of diagnoses is printed anyway.
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
	case !errors.Is(err, demo.ErrTold):
		fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %v\n", err)
	}
	return exitFault
}
