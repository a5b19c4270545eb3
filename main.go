// Command ipsec_path_exporter measures the path to VPN peers: path MTU and black holes, ICMP, IKE on UDP 500 and 4500.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"ipsec_path_exporter/exporter"
)

// release is the version of a build that was not given one with -ldflags, such as that of `go run`.
const release = "0.1.0-dev"

// Exit codes of the program, those of `check` included.
const (
	exitOK     = 0
	exitFault  = 1 // a fault was found; for serve, it could not run
	exitUnable = 2 // could not measure, or bad usage
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if version.Version == "" {
		version.Version = release
	}
	app := kingpin.New("ipsec_path_exporter", "Prometheus exporter for the paths that IPsec tunnels run over.")
	app.Version(version.Print("ipsec_path_exporter")).UsageWriter(os.Stdout).ErrorWriter(os.Stderr)
	app.HelpFlag.Short('h')
	logging := &promslog.Config{Writer: os.Stderr}
	promslogflag.AddFlags(app, logging)
	serve, serveOptions := serveCommand(app)
	check, checkOptions := checkCommand(app)
	capture, captureOptions := captureCommand(app)
	gateway, gatewayOptions := gatewayCommand(app)
	demo, demonstration := demoCommand(app)

	command, err := app.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %v (try --help)\n", err)
		return exitUnable
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := promslog.New(logging)
	switch command {
	case serve.FullCommand():
		if serveOptions.CheckOnly {
			return checkConfig(serveOptions)
		}
		if err := exporter.Serve(ctx, *serveOptions, log); err != nil {
			fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %v\n", err)
			return exitFault
		}
	case check.FullCommand():
		return runCheck(ctx, checkOptions)
	case capture.FullCommand():
		return runCapture(ctx, captureOptions)
	case gateway.FullCommand():
		return runGateway(ctx, gatewayOptions)
	case demo.FullCommand():
		return demonstration.run(ctx, logging)
	}
	return exitOK
}

func serveCommand(app *kingpin.Application) (*kingpin.CmdClause, *exporter.ServeOptions) {
	o := &exporter.ServeOptions{}
	c := app.Command("serve", "Measure all peers on a schedule and serve /metrics (the default command).").Default()
	c.Flag("config.file", "Configuration file (YAML); see docs/configuration.md.").StringVar(&o.ConfigFile)
	c.Flag("config.check", "Read the configuration, print all problems and the packet rate it needs, and exit.").BoolVar(&o.CheckOnly)
	c.Flag("storage.path", "Directory for what the paths were like and how verdicts changed, over restarts; without it that is kept in memory.").
		StringVar(&o.StoragePath)
	c.Flag("peer", "A peer to measure, [NAME=]ADDRESS. Repeatable; needs no file.").StringsVar(&o.Peers)
	c.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&o.TelemetryPath)
	c.Flag("web.external-url", "URL under which the exporter is reached from outside.").StringVar(&o.ExternalURL)
	c.Flag("web.route-prefix", "Prefix of all paths; the path of --web.external-url unless given.").StringVar(&o.RoutePrefix)
	c.Flag("histogram.native", "Expose round trips as native histograms.").Default("true").BoolVar(&o.NativeHistograms)
	c.Flag("histogram.classic", "Expose round trips as classic histograms.").Default("true").BoolVar(&o.ClassicHistograms)
	o.Web = kingpinflag.AddFlags(c, ":10500")
	return c, o
}

func checkConfig(o *exporter.ServeOptions) int {
	if err := exporter.CheckConfig(*o, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return exitFault
	}
	return exitOK
}
