package strongswan

import (
	"context"
	"errors"
	"time"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// Watch implements gateways.Watcher. That an IKE SA goes down need not be asked for: charon reports
// each of its children before. Neither does the rekeying of one: its children go on.
func (s *Source) Watch(ctx context.Context, changed func(gateways.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		event gateways.Event
		err   error
	}
	results := make(chan result)
	watched := map[string]func(*vici.Message, time.Time) []gateways.Event{"child-updown": updown, "child-rekey": rekeyed}
	for name, parse := range watched {
		go func() {
			err := s.hear(ctx, name, func(e vici.Event) {
				for _, event := range parse(e.Message, e.Timestamp) {
					results <- result{event: event}
				}
			})
			results <- result{err: err}
		}()
	}
	var errs []error
	for len(errs) < len(watched) {
		r := <-results
		if r.event.Key != "" {
			changed(r.event)
			continue
		}
		errs = append(errs, r.err)
		cancel()
	}
	return errors.Join(errs...)
}

func (s *Source) hear(ctx context.Context, name string, f func(vici.Event)) error {
	c, err := open(ctx, s.network, s.address, name)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-c.events:
			if !ok {
				return errors.Join(errBroken, c.frames.reason())
			}
			c.frames.taken()
			f(e)
		}
	}
}

// updown are the events of a child-updown message: {up=yes conn {remote-host=... child-sas {net
// {uniqueid=1 ...}}}}.
func updown(m *vici.Message, when time.Time) []gateways.Event {
	var events []gateways.Event
	sections(m, func(conn string, sa *vici.Message) {
		sections(section(sa, "child-sas"), func(name string, c *vici.Message) {
			events = append(events, gateways.Event{
				Peer: identity(conn, sa), Key: childKey(name, c), Up: text(m, "up") == "yes", When: when,
			})
		})
	})
	return events
}

// rekeyed are the events of a child-rekey message: {conn {remote-host=... child-sas {net {old {...}
// new {...}}}}}.
func rekeyed(m *vici.Message, when time.Time) []gateways.Event {
	var events []gateways.Event
	sections(m, func(conn string, sa *vici.Message) {
		sections(section(sa, "child-sas"), func(_ string, c *vici.Message) {
			// The new one first: the tunnel was not down.
			for _, of := range []string{"new", "old"} {
				if key := text(section(c, of), "uniqueid"); key != "" {
					events = append(events, gateways.Event{Peer: identity(conn, sa), Key: key, Up: of == "new", When: when})
				}
			}
		})
	})
	return events
}
