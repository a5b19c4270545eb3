package exporter

import (
	"context"
	"os"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/discovery"
)

// Where a configuration names no peers and no gateway of this host lists any, the program waits: the
// IKE daemon may start later, and the configuration may be written later. It serves its metrics
// meanwhile, looks for gateways again, and reads the configuration file again when that changes.
//
//	start ──▶ waiting ──a gateway lists peers, or the file names some──▶ measuring
//	             ▲                                                          │
//	             └───────────────the last discovered peer is gone───────────┘

// A stamp distinguishes the versions of a file; it is zero where there is none.
type stamp struct {
	changed time.Time
	size    int64
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// take makes a configuration the current one. It logs once that the program waits. The caller holds
// turn.
func (r *reloader) take(base, cfg *config.Config) {
	r.base, r.cfg = base, cfg
	waiting := discovers(base) && len(cfg.Peers)+len(cfg.Others) == 0
	if waiting && !r.waiting.Load() {
		r.log.Warn("no peers yet; waiting for a gateway of this host that lists peers, or for peers in the configuration",
			"file", r.options.ConfigFile, "look_every", discovery.EveryWaiting)
	}
	r.waiting.Store(waiting)
}

// rediscover follows the peers of this host's gateways, where the configuration names none.
func (r *reloader) rediscover(ctx context.Context) error {
	for {
		every := discovery.Every
		if r.waiting.Load() {
			every = discovery.EveryWaiting
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
		r.discover(ctx)
	}
}
