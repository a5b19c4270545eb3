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
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/web"
)

// ServeOptions are what the command line says to serve.
type ServeOptions struct {
	ConfigFile string
	// Peers are given as [NAME=]ADDRESS.
	Peers []string
	// ConfigText is a whole configuration in place of a file and of Peers.
	ConfigText []byte
	// StoragePath is the directory for baselines and changes of verdicts; empty keeps them in memory.
	StoragePath string
	// CheckOnly reads the configuration and does nothing else.
	CheckOnly bool

	Web *toolkit.FlagConfig
	// Listeners are open already, and taken in place of the addresses in Web.
	Listeners                []net.Listener
	TelemetryPath            string
	ExternalURL, RoutePrefix string
	NativeHistograms         bool
	ClassicHistograms        bool
}

// shutdownTimeout is how long requests may take to end when the program does.
const shutdownTimeout = 5 * time.Second

// errHistograms: without any buckets there would be no distribution of round trips at all.
var errHistograms = errors.New("--no-histogram.native and --no-histogram.classic leave no histogram")

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
	base, v, err := o.validate()
	if err != nil {
		return err
	}
	d := newDiscovery(log)
	cfg, err := d.complete(ctx, base, o.ConfigFile)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1) // from here on a SIGHUP waits, before that it ends the program
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	a, err := openApp(cfg, v.buckets, o.StoragePath, log)
	if err != nil {
		return err
	}
	defer a.close()
	log.Info("ipsec_path_exporter starts", "version", version.Version, "peers", len(cfg.Peers))
	for _, line := range slices.Concat(a.degraded(), cfg.Warnings(), secretProblems(cfg)) {
		log.Warn("measuring is limited", "limit", line)
	}
	r := &reloader{app: a, options: o, life: ctx, hup: hup, turn: make(chan struct{}, 1), discovery: d, base: base, cfg: cfg}
	server, err := web.Server(web.Config{
		Log: log, RoutePrefix: v.prefix, TelemetryPath: o.TelemetryPath,
		Metrics: a.metricsHandler(), Ready: a.ready.Load, Reload: r.reload, Status: a.status(time.Now()), Dossiers: dossiers{a},
	})
	if err != nil {
		return err
	}
	return a.run(ctx, cfg, server, r)
}

// validated is what follows from options that make sense.
type validated struct {
	buckets icmp.Buckets
	prefix  string
}

// validate reads the configuration and finds out what is wrong with the options, without opening anything.
func (o *ServeOptions) validate() (*config.Config, validated, error) {
	var v validated
	var err error
	if v.buckets, err = o.buckets(); err != nil {
		return nil, v, err
	}
	cfg, err := o.read()
	if err != nil {
		return nil, v, err
	}
	if v.prefix, err = web.RoutePrefix(o.RoutePrefix, o.ExternalURL); err != nil {
		return nil, v, fmt.Errorf("--web.external-url: %w", err)
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
	// Before anybody can ask for a reload: the older configuration must not come last.
	a.apply(ctx, cfg)
	a.metrics.loaded(true)
	a.ready.Store(true)
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
	g.Go(func() error { return a.watchVantage(ctx) })
	err := g.Wait()
	a.log.Info("ipsec_path_exporter ends")
	return err
}

func (o *ServeOptions) buckets() (icmp.Buckets, error) {
	switch {
	case o.NativeHistograms && o.ClassicHistograms:
		return icmp.BothBuckets, nil
	case o.NativeHistograms:
		return icmp.NativeBuckets, nil
	case o.ClassicHistograms:
		return icmp.ClassicBuckets, nil
	}
	return 0, errHistograms
}

// metricsHandler serves the process's own metrics and those of all peers as one page.
func (a *app) metricsHandler() http.Handler {
	all := prometheus.NewMultiTRegistry(prometheus.ToTransactionalGatherer(a.metrics.registry), a.store)
	h := promhttp.HandlerForTransactional(all, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelError),
		ErrorHandling:     promhttp.ContinueOnError,
	})
	return promhttp.InstrumentMetricHandler(a.metrics.registry, h)
}

// A reloader reads the configuration again. One reload runs at a time.
type reloader struct {
	app     *app
	options ServeOptions
	life    context.Context //nolint:containedctx // peers live as long as the program, not as long as the request that made them
	hup     <-chan os.Signal
	turn    chan struct{}

	discovery *discovery
	// Of whose turn it is: the configuration as it was read, and the one that runs, whose peers may have been discovered.
	base, cfg *config.Config
}

// hangups reloads at every SIGHUP.
func (r *reloader) hangups(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.hup:
			_ = r.reload(ctx) // it was logged
		}
	}
}

// reload validates everything before it changes anything. Its error is logged here, and shown to whoever asked by HTTP.
func (r *reloader) reload(ctx context.Context) error {
	r.lookAhead(ctx)
	if err := r.take(ctx); err != nil {
		return err
	}
	defer r.release()
	base, err := r.options.read()
	var cfg *config.Config
	if err == nil {
		cfg, err = r.discovery.known(base, r.options.ConfigFile)
	}
	if err != nil {
		r.app.metrics.loaded(false)
		r.app.log.Error("reload failed, the running configuration stays", "err", err)
		return err
	}
	r.base, r.cfg = base, cfg
	r.app.apply(r.life, cfg)
	r.app.metrics.loaded(true)
	r.app.log.Info("the configuration was reloaded", "peers", len(cfg.Peers))
	for _, w := range slices.Concat(cfg.Warnings(), secretProblems(cfg)) {
		r.app.log.Warn("measuring is limited", "limit", w)
	}
	return nil
}

// rediscover takes up the peers of this host's gateways as they come and go, where the configuration names none.
func (r *reloader) rediscover(ctx context.Context) error {
	ticker := time.NewTicker(discoverEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		r.discover(ctx)
	}
}

// take waits for a turn.
func (r *reloader) take(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *reloader) release() { <-r.turn }

// lookAhead asks the gateways that the new configuration needs and nobody has asked lately: before the turn, because a gateway may hang.
func (r *reloader) lookAhead(ctx context.Context) {
	if base, err := r.options.read(); err == nil {
		r.discovery.look(ctx, base, discoverEvery+discoverTimeout)
	}
}

// discover looks for peers again. The gateways are asked outside the turn: one that hangs delays no reload.
func (r *reloader) discover(ctx context.Context) {
	if r.take(ctx) != nil {
		return
	}
	base := r.base
	r.release()
	r.discovery.look(ctx, base, 0)
	if r.take(ctx) != nil {
		return
	}
	defer r.release()
	if len(r.base.Peers) > 0 || ctx.Err() != nil {
		return
	}
	cfg, err := r.discovery.known(r.base, r.options.ConfigFile)
	if err != nil || slices.EqualFunc(cfg.Peers, r.cfg.Peers, config.Peer.Equal) && slices.Equal(cfg.Gateways, r.cfg.Gateways) {
		return
	}
	r.cfg = cfg
	r.app.apply(r.life, cfg)
	r.app.log.Info("the gateways of this host have other peers now", "peers", len(cfg.Peers))
}

// CheckConfig prints what a configuration needs, or returns all its problems.
func CheckConfig(o ServeOptions, out io.Writer) error {
	cfg, _, err := o.validate()
	if err != nil {
		return err
	}
	packets, bytes := cfg.PacketRate()
	if len(cfg.Peers) == 0 {
		fmt.Fprintln(out, "no peers: those of this host's gateways are taken")
	} else {
		fmt.Fprintf(out, "peers: %d; %.1f packets/s and %.0f bytes/s when all is well (limits: %d packets/s, %d bytes/s)\n",
			len(cfg.Peers), packets, bytes, cfg.Limits.PacketsPerSecond, cfg.Limits.BytesPerSecond)
	}
	for _, w := range slices.Concat(cfg.Warnings(), secretProblems(cfg)) {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	return nil
}
