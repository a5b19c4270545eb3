package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/watch"
	"ipsec_path_exporter/internal/netio"
)

const (
	// watchedEcho is the time between echo requests while a person watches.
	watchedEcho = time.Second
	// redraw is the time between two screens.
	redraw = time.Second
)

// Watch measures the peers of a check on a schedule, as Serve does, and shows them on a terminal
// until the context ends or a key says so. Then it prints the reports, and returns what a check
// that found this would return.
func Watch(ctx context.Context, o *check.Options, in, out *os.File) error {
	if o.Output != "text" || o.Pcap != "" {
		return errors.New("--watch: shows text on a terminal: not with --output or --pcap")
	}
	if len(o.Via) > 1 {
		return errors.New("--watch: shows one way to a peer: give --via once")
	}
	// The terminal is to be given back first.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	cfg, err := o.Peers(ctx)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler) // the screen shows what is wrong
	tools, err := subject.OpenInstruments(netio.Config{Limits: subject.Limits(cfg), Log: log})
	if err != nil {
		return err
	}
	a, err := newApp(tools, cfg, icmp.NoBuckets, "", log)
	if err != nil {
		return err
	}
	defer a.close()
	reports, err := a.watch(ctx, cfg, in, out)
	if err != nil {
		return fmt.Errorf("--watch: %w", err)
	}
	return o.Conclude(reports)
}

// watch runs the schedule and draws, and returns the last reports.
func (a *app) watch(ctx context.Context, cfg *config.Config, in, out *os.File) ([]*report.Report, error) {
	for i := range cfg.Peers {
		every := &cfg.Peers[i].Intervals[suite.ICMP]
		*every = min(*every, watchedEcho)
	}
	ctx, terminal, err := watch.Open(ctx, in, out)
	if err != nil {
		return nil, err
	}
	defer terminal.Close() //nolint:errcheck // for a panic: it was closed otherwise
	running, stop := context.WithCancel(ctx)
	g, running := errgroup.WithContext(running)
	a.apply(running, cfg)
	g.Go(func() error { return a.schedule.Run(running) })
	g.Go(func() error { return a.vantage.watch(running) })
	reports, err := a.draw(running, cfg, terminal)
	stop()
	return reports, errors.Join(err, terminal.Close(), g.Wait())
}

// draw shows the peers again and again.
func (a *app) draw(ctx context.Context, cfg *config.Config, to *watch.Terminal) (reports []*report.Report, err error) {
	clock := time.NewTicker(redraw)
	defer clock.Stop()
	for began := time.Now(); ; {
		now := time.Now()
		reports = a.documents(cfg, now)
		if err := to.Show(watch.Draw(reports, to.Size(), began, now)); err != nil {
			return reports, err
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
			return reports, nil
		}
	}
}

// documents returns what is known about all peers, in the order of the configuration.
func (a *app) documents(cfg *config.Config, now time.Time) (all []*report.Report) {
	for i := range cfg.Peers {
		if p, ok := a.find(cfg.Peers[i].Name); ok {
			all = append(all, document(p, now))
		}
	}
	return all
}
