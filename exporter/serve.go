package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exposition"
	"ipsec_path_exporter/exporter/peerfiles"
	"ipsec_path_exporter/exporter/probe"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/shard"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/netio"
)

// ServeOptions are what the command line says to serve.
type ServeOptions struct {
	ConfigFile string
	// Peers are given as [NAME=]ADDRESS.
	Peers []string
	// ConfigText is a whole configuration; it replaces a file and Peers.
	ConfigText []byte
	// StoragePath is the directory for baselines and diagnosis history; empty keeps both in memory.
	StoragePath string
	// EvidenceBytes is the memory for probes and answers of all peers; 0 keeps none.
	EvidenceBytes int
	// Sandbox takes from the whole process, after the start, what it does not need any more.
	Sandbox bool
	// CheckOnly reads the configuration and does nothing else.
	CheckOnly bool
	// Shard is the number of this shard or shard.Auto, and may be empty if TotalShards is 1.
	Shard       string
	TotalShards int

	Web *toolkit.FlagConfig
	// Listeners are open already; they are used in place of the addresses in Web.
	Listeners                []net.Listener
	TelemetryPath            string
	ExternalURL, RoutePrefix string
	// Lifecycle lets clients have the configuration reloaded by HTTP.
	Lifecycle bool
	// GrafanaURL is the Grafana that has the boards, empty for none. RunbookURL ends before the
	// name of a diagnosis; empty for the published runbooks.
	GrafanaURL, RunbookURL string
	// ProbeAnyTarget has /probe measure addresses that are not configured too. ProbeTimeoutOffset
	// is subtracted from the timeout of a scrape.
	ProbeAnyTarget     bool
	ProbeTimeoutOffset time.Duration
	NativeHistograms   bool
	ClassicHistograms  bool
	// Program means that the process does nothing else: the number of processors that it uses follows
	// the number of peers.
	Program bool
}

// shutdownTimeout is how long requests may take to end when the program does.
const shutdownTimeout = 5 * time.Second

var errNegative = errors.New("must not be negative")

// Serve measures and serves until ctx ends.
//
//	config ──▶ app.apply ──▶ peers: collectors ──▶ schedule ──▶ netio ──▶ the path
//	  ▲                        │ results                                   │
//	SIGHUP, POST               ▼                                           ▼
//	                         store ◀──── expose ◀──── results, diagnoses ◀─┘
//	                           │
//	                           ▼ scrape: no I/O
//	                        /metrics
func Serve(ctx context.Context, o ServeOptions, log *slog.Logger) error {
	if err := netio.Available(); err != nil {
		return err
	}
	limits := newGoRuntime(o.Program)
	defer limits.limitGarbage(0)()
	read := stampOf(o.ConfigFile) // before the file is read: a later change is another version
	base, v, err := o.validate()
	if err != nil {
		return err
	}
	r := newReloader(log, v.shard)
	r.options, r.life, r.stamp = o, ctx, read
	cfg, err := r.first(ctx, base)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1) // before this a SIGHUP ends the program, from here on it waits
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	r.hup = hup
	tools, err := subject.OpenInstruments(netio.Config{Limits: subject.Limits(cfg), Log: log})
	if err != nil {
		return err
	}
	a, err := newApp(tools, cfg, v.buckets, o.StoragePath, log)
	if err != nil {
		return err
	}
	a.limits = limits
	defer a.close()
	a.traces = trace.NewRecorder(o.EvidenceBytes)
	a.shard, a.files, r.app = v.shard, r.files, a
	log.Info("starting ipsec_path_exporter", "version", version.Version, "peers", len(cfg.Peers))
	if !v.shard.Alone() {
		log.Info("measuring one shard of the peers", "shard", v.shard.Index, "total_shards", v.shard.Total, "others", len(cfg.Others))
	}
	for _, line := range tools.Degraded() {
		log.Warn("running with reduced capabilities", "limit", line)
	}
	r.warn(cfg)
	server, err := web.Server(web.Config{
		Log: log, RoutePrefix: v.prefix, TelemetryPath: o.TelemetryPath,
		Metrics: a.metricsHandler(), Application: report.Application(),
		Ready: a.ready.Load, Lifecycle: o.Lifecycle, Reload: r.reload, Status: a.status(time.Now()), Peers: peerPages{a},
		Targets: a.discoverable, Probe: a.probes(func() context.Context { return r.life }, &o),
		Grafana: o.GrafanaURL, Runbooks: o.RunbookURL,
	})
	if err != nil {
		return err
	}
	r.confine(cfg) // before anything from the network is read
	return a.run(ctx, cfg, server, r)
}

// probes serves /probe, while the context that life returns lasts.
func (a *app) probes(life func() context.Context, o *ServeOptions) *probe.Handler {
	h := probe.New(probe.Config{
		Log: a.log, Source: newOnDemand(a, o.ProbeAnyTarget), Offset: o.ProbeTimeoutOffset, Life: life,
		Limits: func() config.Limits { return a.current.Load().Limits },
	})
	a.metrics.registry.MustRegister(h.Requests())
	return h
}

// first returns the configuration that the program starts with.
func (r *reloader) first(ctx context.Context, base *config.Config) (*config.Config, error) {
	base.Divide(r.shard.Has)
	if discovers(base) {
		r.discovery.Look(ctx, base, 0)
	}
	cfg, err := r.complete(base)
	if err != nil {
		return nil, err
	}
	r.narrow(cfg)
	r.take(base, cfg)
	return cfg, nil
}

// validated is what follows from valid options.
type validated struct {
	buckets icmp.Buckets
	prefix  string
	shard   shard.Shard
}

// validate reads the configuration and checks the options. It opens nothing else.
func (o *ServeOptions) validate() (*config.Config, validated, error) {
	v := validated{buckets: o.buckets()}
	if o.ProbeTimeoutOffset < 0 {
		return nil, v, fmt.Errorf("--web.probe-timeout-offset=%v: %w", o.ProbeTimeoutOffset, errNegative)
	}
	var err error
	if v.shard, err = shard.Parse(o.Shard, o.TotalShards, os.Hostname); err != nil {
		return nil, v, err
	}
	cfg, err := o.read()
	if err != nil {
		return nil, v, err
	}
	if v.prefix, err = web.RoutePrefix(o.RoutePrefix, o.ExternalURL); err != nil {
		return nil, v, fmt.Errorf("--web.external-url: %w", err)
	}
	if err := web.CheckLinks(o.GrafanaURL, o.RunbookURL); err != nil {
		return nil, v, err
	}
	if _, err = web.Handler(web.Config{RoutePrefix: v.prefix, TelemetryPath: o.TelemetryPath, Metrics: http.NotFoundHandler()}); err != nil {
		return nil, v, err
	}
	if err := toolkit.Validate(*o.Web.WebConfigFile); err != nil {
		return nil, v, fmt.Errorf("--web.config.file: %w", err)
	}
	return cfg, v, nil
}

// read reads the configuration, which may name no peers.
func (o *ServeOptions) read() (*config.Config, error) {
	if o.ConfigText != nil {
		return config.Parse("", o.ConfigText)
	}
	return config.ReadAny(o.ConfigFile, o.Peers)
}

// listenAndServe serves until the server is shut down.
func (o *ServeOptions) listenAndServe(server *http.Server, log *slog.Logger) error {
	serve := func() error { return toolkit.ListenAndServe(server, o.Web, log) }
	if len(o.Listeners) > 0 {
		serve = func() error { return toolkit.ServeMultiple(o.Listeners, server, o.Web, log) }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// run starts everything and ends it again.
func (a *app) run(ctx context.Context, cfg *config.Config, server *http.Server, r *reloader) error {
	g, ctx := errgroup.WithContext(ctx)
	r.life = ctx
	// Before a reload can be asked for: the older configuration must not come last.
	a.apply(ctx, cfg)
	a.metrics.loaded(true)
	a.ready.Store(true)
	go debug.FreeOSMemory() // reading the configuration took several times what is kept of it
	g.Go(func() error { return r.options.listenAndServe(server, a.log) })
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return server.Shutdown(end)
	})
	g.Go(func() error { return a.schedule.Run(ctx) })
	g.Go(func() error { return r.hangups(ctx) })
	g.Go(func() error { return r.rediscover(ctx) })
	g.Go(func() error { return r.followFiles(ctx) })
	g.Go(func() error { return a.vantage.watch(ctx) })
	g.Go(func() error { return a.recordDays(ctx) })
	g.Go(func() error { return a.partners.Run(ctx) })
	err := g.Wait()
	a.log.Info("stopped ipsec_path_exporter")
	return err
}

func (o *ServeOptions) buckets() icmp.Buckets {
	switch {
	case o.NativeHistograms && o.ClassicHistograms:
		return icmp.BothBuckets
	case o.NativeHistograms:
		return icmp.NativeBuckets
	case o.ClassicHistograms:
		return icmp.ClassicBuckets
	}
	return icmp.NoBuckets
}

// metricsHandler serves the process's own metrics and the metrics of all peers as one page.
func (a *app) metricsHandler() http.Handler {
	return promhttp.InstrumentMetricHandler(a.metrics.registry, exposition.Handler(exposition.Config{
		Peers: a.store, Gateways: a.gateways, Process: a.metrics.registry, Log: a.log,
	}))
}

// CheckConfig prints what a configuration needs, or returns all its problems, also those of its
// peer files.
func CheckConfig(o ServeOptions, out io.Writer) error {
	base, v, err := o.validate()
	if err != nil {
		return err
	}
	base.Divide(v.shard.Has)
	files := peerfiles.New(slog.New(slog.DiscardHandler), v.shard.Has)
	cfg, _, err := files.Complete(base)
	if err = errors.Join(err, files.Problems()); err != nil {
		return err
	}
	left := cfg.KeepGateways()
	if !v.shard.Alone() {
		fmt.Fprintf(out, "%v: %d of %d peers\n", v.shard, len(cfg.Peers), len(cfg.Peers)+len(cfg.Others))
	}
	packets, bytes := cfg.PacketRate()
	if discovers(base) {
		fmt.Fprintln(out, "no peers: the peers of this host's gateways will be measured, as soon as there are any")
	} else {
		fmt.Fprintf(out, "peers: %d; %.1f packets/s and %.0f bytes/s while all paths are healthy (limits: %d packets/s, %d bytes/s)\n",
			len(cfg.Peers), packets, bytes, cfg.Limits.PacketsPerSecond, cfg.Limits.BytesPerSecond)
	}
	if len(left) > 0 {
		fmt.Fprintf(out, "gateways that only peers of other shards name: %s\n", strings.Join(left, ", "))
	}
	for _, w := range warnings(cfg, files) {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	return nil
}
