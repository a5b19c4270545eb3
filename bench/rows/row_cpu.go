package rows

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

var defaultPrefix = netip.MustParsePrefix("10.64.0.0/12")

// done returns the check that the exporter sent what it was asked for.
func done(u usage) Check { return within("share of the wanted probes", u.done, 0.98, 1.02, "") }

// cpuEverySecond compares the CPU per probe at 10,000 probes per second.
func cpuEverySecond(ctx context.Context, l *lab) ([]Check, error) {
	w := work{l.clean(0), time.Second}
	all, err := l.compare(ctx, w, l.duration(20*time.Second), &toolExporter, &toolReference, &toolSmokeping, &toolPingExporter)
	if err != nil {
		return nil, err
	}
	return []Check{
		ratio(all, &toolReference, 1.5), ratio(all, &toolPingExporter, 1.0/3), ratio(all, &toolSmokeping, 0.1), done(all[toolExporter.name]),
	}, nil
}

// cpuEveryTenSeconds compares it at 1,000 probes per second to the same peers.
func cpuEveryTenSeconds(ctx context.Context, l *lab) ([]Check, error) {
	w := work{l.clean(0), 10 * time.Second}
	all, err := l.compare(ctx, w, l.duration(30*time.Second), &toolExporter, &toolReference, &toolSmokeping)
	if err != nil {
		return nil, err
	}
	reference := ratio(all, &toolReference, 0)
	reference.Most = nil // no goal
	return []Check{ratio(all, &toolSmokeping, 1.0/30), reference, done(all[toolExporter.name])}, nil
}

// fewPeers compares it where waking up is all the work.
func fewPeers(ctx context.Context, l *lab) ([]Check, error) {
	window := l.duration(30 * time.Second)
	hundred, err := l.compare(ctx, work{l.clean(100), time.Second}, window, &toolExporter, &toolFping)
	if err != nil {
		return nil, err
	}
	ten, err := l.compare(ctx, work{l.clean(10), time.Second}, window, &toolExporter)
	if err != nil {
		return nil, err
	}
	against := ratio(hundred, &toolFping, 1)
	against.Name += ", 100 peers"
	share := atMost("share of a core, 10 peers", 100*ten[toolExporter.name].cores, 0.3, "%")
	share.Note = fmt.Sprintf("%.0f ms per 1,000 probes", ten[toolExporter.name].cpu)
	return []Check{against, share}, nil
}
