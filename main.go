// Command ipsec_path_exporter measures the network path to VPN peers: path MTU and black holes,
// ICMP echo, and IKE on UDP 500 and 4500.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"ipsec_path_exporter/exporter"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/untrusted"
)

// Exit codes of all commands.
const (
	exitOK     = 0
	exitFault  = 1 // a fault was found; serve and demo: failed to run
	exitUnable = 2 // could not measure, or bad usage
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	stampVersion()
	app := kingpin.New("ipsec_path_exporter", "Prometheus exporter for the paths that IPsec tunnels run over.")
	app.Version(version.Print("ipsec_path_exporter")).UsageWriter(os.Stdout).ErrorWriter(os.Stderr)
	app.HelpFlag.Short('h')
	logging := &promslog.Config{Writer: stderr()}
	promslogflag.AddFlags(app, logging)
	serve, serveOptions := serveCommand(app)
	check, checkOptions := checkCommand(app)
	capture, captureOptions := captureCommand(app)
	gateway, gatewayOptions := gatewayCommand(app)
	demo, demonstration := demoCommand(app)

	command, err := app.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr(), "ipsec_path_exporter: error: %v%s (try --help)\n", err, meant(app.Model(), args, err))
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
			fmt.Fprintf(stderr(), "ipsec_path_exporter: error: %v\n", err)
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

// stderr is standard error for the log and for errors, which may hold texts of devices and names in
// files: no terminal obeys them.
func stderr() io.Writer { return untrusted.Writer(os.Stderr) }

func serveCommand(app *kingpin.Application) (*kingpin.CmdClause, *exporter.ServeOptions) {
	o := &exporter.ServeOptions{Program: true}
	c := app.Command("serve", "Measure all peers on a schedule and serve /metrics (the default command).").Default()
	c.Flag("config.file", "Configuration file (YAML); see docs/configuration.md.").StringVar(&o.ConfigFile)
	c.Flag("config.check", "Validate the configuration, print all problems or the required packet rate, and exit.").BoolVar(&o.CheckOnly)
	c.Flag("storage.path", "Directory for baselines and diagnosis history. Without it, both are lost at a restart.").
		StringVar(&o.StoragePath)
	c.Flag("evidence.bytes", "Memory for the newest probes and answers of all peers, as 64MiB. 0 keeps none.").
		Default(units.Base2Bytes(trace.DefaultBytes).String()).SetValue((*evidenceBytes)(&o.EvidenceBytes))
	c.Flag("peer", "Peer to measure, [NAME=]ADDRESS. Repeatable; needs no configuration file.").StringsVar(&o.Peers)
	c.Flag("shard", "Number of this shard, counted from 0, or auto: the number at the end of the host name. "+
		"Only the peers of this shard are measured.").StringVar(&o.Shard)
	c.Flag("total-shards", "Number of exporters that share the configured peers.").Default("1").IntVar(&o.TotalShards)
	c.Flag("web.telemetry-path", "Path under which to expose metrics.").Default("/metrics").StringVar(&o.TelemetryPath)
	c.Flag("web.external-url", "URL under which the exporter is externally reachable.").StringVar(&o.ExternalURL)
	c.Flag("web.route-prefix", "Prefix of all HTTP paths. Defaults to the path of --web.external-url.").StringVar(&o.RoutePrefix)
	c.Flag("web.enable-lifecycle", "Let POST /-/reload reload the configuration, for any client that reaches the exporter.").
		BoolVar(&o.Lifecycle)
	c.Flag("web.grafana-url", "URL of the Grafana with the boards. Pages of peers link to it.").StringVar(&o.GrafanaURL)
	c.Flag("web.runbook-url", "URL of the runbooks; the name of a diagnosis is appended.").Default(web.DefaultRunbooks).
		StringVar(&o.RunbookURL)
	c.Flag("web.probe-any-target", "Let /probe measure any address. By default it measures configured peers only.").
		BoolVar(&o.ProbeAnyTarget)
	c.Flag("web.probe-timeout-offset", "Time to subtract from the timeout of a scrape of /probe.").Default("500ms").
		DurationVar(&o.ProbeTimeoutOffset)
	c.Flag("sandbox", "After the start, drop capabilities that are no longer needed, and limit access to files (Landlock) to the directories of "+
		"configured files. See docs/installation.md.").Default("true").BoolVar(&o.Sandbox)
	c.Flag("histogram.native", "Expose round-trip times as native histograms.").Default("true").BoolVar(&o.NativeHistograms)
	c.Flag("histogram.classic", "Expose round-trip times as classic histograms.").Default("true").BoolVar(&o.ClassicHistograms)
	o.Web = kingpinflag.AddFlags(c, ":10500")
	return c, o
}

// evidenceBytes is the value of --evidence.bytes.
type evidenceBytes int

// Set implements kingpin.Value.
func (b *evidenceBytes) Set(s string) error {
	n, err := units.ParseBase2Bytes(s)
	if err != nil {
		n, err = units.ParseBase2Bytes(s + "B")
	}
	if err != nil || n != 0 && (n < trace.LeastBytes || n > trace.MostBytes) {
		return fmt.Errorf("--evidence.bytes=%s: must be 0, or a size from %s to %s",
			s, units.Base2Bytes(trace.LeastBytes), units.Base2Bytes(trace.MostBytes))
	}
	*b = evidenceBytes(n)
	return nil
}

// String implements kingpin.Value.
func (b *evidenceBytes) String() string { return units.Base2Bytes(*b).String() }

func checkConfig(o *exporter.ServeOptions) int {
	if err := exporter.CheckConfig(*o, untrusted.Writer(os.Stdout)); err != nil {
		fmt.Fprintf(stderr(), "%v\n", err)
		return exitFault
	}
	return exitOK
}
