package rows

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// A row measures one row of the table.
type row struct {
	name string
	run  func(ctx context.Context, l *lab) ([]Check, error)
}

// table has a line for each row.
var table = []row{
	{"loss", loss},
	{"flood", flood},
	{"clients", clients},
	{"cpu-1s", cpuEverySecond},
	{"cpu-10s", cpuEveryTenSeconds},
	{"few", fewPeers},
	{"round-trip", roundTrip},
	{"memory", memory},
	{"ingest", ingest},
	{"pmtu", pathMTU},
	{"ike", ikeRate},
	{"verdicts", verdicts},
	{"start", startUp},
}

// Names returns the names of all rows.
func Names() []string {
	var names []string
	for _, r := range table {
		names = append(names, r.name)
	}
	return names
}

var errRow = errors.New("no such row")

// Run measures a row in the network namespace of this process.
func Run(ctx context.Context, name string, o Options) (checks []Check, err error) {
	l := &lab{Options: o}
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.Dir == "" {
		if l.Dir, err = os.MkdirTemp("", "pathbench-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(l.Dir)) }()
	} else if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, err
	}
	raiseLimits()
	for _, r := range table {
		if r.name != name {
			continue
		}
		checks, err = r.run(ctx, l)
		for i := range checks {
			checks[i].Row = name
		}
		return checks, err
	}
	return nil, errRow
}

// raiseLimits allows as many open files as the system does: some programs have a socket per peer.
func raiseLimits() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) // the tool that needs it reports it
	}
}

// Defaults of the simulated peers.
const (
	usualPeers = 10_000
	usualDelay = 20 * time.Millisecond
)

func constant(d time.Duration) crowd.Distribution { return crowd.Distribution{Low: d, High: d} }

// clean returns peers without faults.
func (l *lab) clean(n int) crowd.Config {
	return crowd.Config{Seed: l.Seed, Count: cmp.Or(n, l.count(usualPeers)), IPv4: defaultPrefix, Delay: constant(usualDelay)}
}
