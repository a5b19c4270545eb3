package rows

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab/crowd"
)

const (
	// stall is how long the exporter is stopped, once in every stallEvery.
	stall, stallEvery = 2 * time.Second, time.Minute
	// settleEchoes is the time after which every echo of a window is decided.
	settleEchoes = 4 * time.Second
	// lookEvery is the time between two looks at all series.
	lookEvery = 5 * time.Second
	// deviations of a normal distribution hold 99.9 % of it.
	deviations = 3.29
)

// loss sends 10,000 echoes per second for ten minutes. Meanwhile the exporter is scraped every second
// and stopped for two seconds every minute, and a second process computes on all processors. Nine of
// ten peers lose nothing, the others lose one round trip in a hundred.
func loss(ctx context.Context, l *lab) ([]Check, error) {
	peers := l.clean(0)
	peers.Delay = crowd.Distribution{Low: 10 * time.Millisecond, High: 40 * time.Millisecond}
	peers.Mix = []crowd.Share{{Kind: crowd.Clean, Weight: 9}, {Kind: crowd.Lossy, Weight: 1}}
	s, e, err := l.echoing(ctx, peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	defer e.Stop()
	if err := pause(ctx, settleEchoes); err != nil {
		return nil, err
	}
	busy, err := start(ctx, l.Dir, "busy", l.self, "busy")
	if err != nil {
		return nil, err
	}
	defer busy.Stop()
	scrapes := scrapeEvery(ctx, time.Second)
	window, began := l.duration(10*time.Minute), time.Now()
	w := watch{exporter: e}
	if err := w.run(ctx, l, window); err != nil {
		return nil, err
	}
	n, failed, longest := scrapes.stop()
	busy.Stop()
	if err := pause(ctx, settleEchoes); err != nil {
		return nil, err
	}
	l.logf("%d scrapes, %d failed, the longest took %v; %d stalls in %v", n, failed, longest.Round(time.Millisecond), w.stalls, time.Since(began).Round(time.Second))
	checks, err := l.judgeLoss(ctx, s, e)
	if err != nil {
		return nil, err
	}
	return append(checks, atMost("peers shown as unreachable, at any look", float64(w.unreachable), 0, ""),
		atMost("failed scrapes", float64(failed), 0, "")), nil
}

// A watch looks at all series of an exporter, and stalls it, as long as it runs.
type watch struct {
	exporter    *exporter
	stalls      int
	unreachable int
}

// run stalls the exporter at a random time of each minute, and looks at its series in between.
func (w *watch) run(ctx context.Context, l *lab, window time.Duration) error {
	end := time.Now().Add(window)
	every := min(stallEvery, window)
	var next time.Time
	for from := time.Now(); time.Now().Before(end); {
		if next.IsZero() {
			next = from.Add(time.Duration(rand.Int64N(int64(every - stall))))
			from = from.Add(every)
		}
		if time.Now().After(next) && time.Now().Before(end.Add(-stall)) {
			if err := w.stop(ctx); err != nil {
				return err
			}
			next = time.Time{}
			if from.After(end) {
				next = end
			}
		}
		if err := pause(ctx, min(lookEvery, time.Until(end)+time.Millisecond)); err != nil {
			return err
		}
		p, err := w.exporter.page(ctx)
		if err != nil {
			return err
		}
		if n := p.count("ipsec_path_icmp_reachable", 0); n > w.unreachable {
			w.unreachable = n
			l.logf("%d peers are shown as unreachable", n)
		}
	}
	return nil
}

// stop stalls the exporter once.
func (w *watch) stop(ctx context.Context) error {
	if err := w.exporter.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	err := pause(ctx, stall)
	w.stalls++
	if contErr := w.exporter.Signal(unix.SIGCONT); err == nil {
		err = contErr
	}
	return err
}

// judgeLoss compares the exporter's counts of each peer with the simulator's.
func (l *lab) judgeLoss(ctx context.Context, s *simulator, e *exporter) ([]Check, error) {
	p, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	echoes, err := s.echoes(ctx)
	if err != nil {
		return nil, err
	}
	drops, err := dropped()
	if err != nil {
		return nil, err
	}
	requests, replies := p.byPeer("ipsec_path_icmp_requests_total"), p.byPeer("ipsec_path_icmp_replies_total")
	var falseLoss, decided, seen, lossy, lost, truly float64
	i := 0
	for profile := range s.config.Profiles {
		name, truth := peerName(i), echoes[profile.Address.String()]
		i++
		missing := requests[name] - replies[name]
		decided += requests[name]
		seen += float64(truth.Requests)
		if profile.Kind == crowd.Lossy {
			lossy, lost, truly = lossy+requests[name], lost+missing, truly+float64(truth.Lost)
		} else {
			falseLoss += math.Abs(missing) // more replies than requests are wrong, too
		}
	}
	wanted := time.Since(e.started).Seconds() * float64(s.config.Count)
	band := deviations * math.Sqrt(lossy*0.01*0.99)
	measured := within("losses among peers that lose 1 %", lost, math.Floor(lossy*0.01-band), math.Ceil(lossy*0.01+band), "")
	measured.Note = fmt.Sprintf("of %.0f echoes; the simulator dropped %.0f", lossy, truly)
	unknown := info("echoes whose result is unknown", 100*(1-decided/seen), "%")
	unknown.Note = fmt.Sprintf("%.0f counted as dropped on this host", p.sum("ipsec_path_local_drops_total"))
	return []Check{
		atMost("false losses", falseLoss, 0, ""), measured, unknown,
		atLeast("share of the wanted echoes that the simulator received", seen/wanted, 0.9),
		atMost("diagnoses raised", p.sum("ipsec_path_diagnosis_changes_total"), 0, ""),
		atMost("packets that the simulator did not read in time", drops, 0, ""),
	}, nil
}
