package rows

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/bench/load"
)

const (
	clientsPeers   = 500
	clientScrapers = 50
	// hostileClients is the number of clients of each kind of abuse.
	hostileClients = 10
	// clientsGone is when the server has ended the last request of a client that is gone: its write
	// timeout, and a little more.
	clientsGone = 35 * time.Second
)

// clients has fifty scrapers and nine kinds of slow and hostile clients ask an exporter with all default
// collectors for its pages.
func clients(ctx context.Context, l *lab) ([]Check, error) {
	peers := l.clean(l.count(clientsPeers))
	s, err := l.simulate(ctx, peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	e, err := l.export(ctx, exporterConfig{peers: peers, interval: time.Second})
	if err != nil {
		return nil, err
	}
	defer e.Stop()
	window := l.duration(10 * time.Minute)
	if err := pause(ctx, min(calm, window)); err != nil {
		return nil, err
	}
	before, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	sockets := e.Sockets()
	loaded, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	ended := make(chan load.ClientsResult, 1)
	go func() {
		ended <- load.Clients{
			Address: exporterAddr, Path: "/metrics", Scrapers: clientScrapers, Pause: time.Second, Hostile: hostileClients,
		}.Run(loaded)
	}()
	// Memory has its size after a quarter of the time, and must keep it.
	most := [2]float64{}
	for began := time.Now(); loaded.Err() == nil; {
		if pause(loaded, time.Second) != nil {
			break
		}
		part := 0
		if time.Since(began) > window/4 {
			part = 1
		}
		most[part] = max(most[part], e.Memory().RSS)
	}
	result := <-ended
	if err := pause(ctx, clientsGone); err != nil {
		return nil, err
	}
	after, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	scrapes := atMost("failed scrapes", float64(result.Failed), 0, "")
	scrapes.Note = fmt.Sprintf("of %d, the slowest took %.1f s", result.Scrapes, result.Slowest.Seconds())
	if result.Problem != nil {
		scrapes.Note += fmt.Sprintf("; the last one: %v", result.Problem)
	}
	growth := atMost("growth of memory after the first quarter", (most[1]-most[0])/megabyte, 0.1*most[0]/megabyte, "MB")
	growth.Note = fmt.Sprintf("of %.1f MB; %d abuses", most[0]/megabyte, abuses(result))
	const left = 20 // flows come and go, each with a socket
	return []Check{
		scrapes, growth,
		atMost("goroutines that are left", after.sum("go_goroutines")-before.sum("go_goroutines"), left, ""),
		atMost("sockets that are left", float64(e.Sockets()-sockets), left, ""),
		atLeast("peers shown as reachable", float64(after.count("ipsec_path_icmp_reachable", 1)), float64(peers.Count)),
	}, nil
}

// abuses returns how often clients of all kinds tried.
func abuses(r load.ClientsResult) (sum int64) {
	for _, kind := range load.Abuses() {
		sum += r.Abuses[kind]
	}
	return sum
}
