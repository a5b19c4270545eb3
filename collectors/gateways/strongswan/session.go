package strongswan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

var errBroken = errors.New("charon closed the connection")

// A session is one connection to the daemon, subscribed to one event.
type session struct {
	*vici.Session
	frames  *frames
	events  chan vici.Event
	version string
	// userspace reports that the daemon does ESP itself, so the kernel's path MTU does not apply.
	userspace bool
}

func open(ctx context.Context, network, address, event string) (*session, error) {
	var f *frames
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		f = newFrames(conn)
		return f, nil
	}
	v, err := vici.NewSession(vici.WithAddr(network, address), vici.WithDialContext(dial))
	if err != nil {
		return nil, fmt.Errorf("connect to charon: %w", err)
	}
	// The library drops events that do not fit into the channel; frames lets no more come.
	c := &session{Session: v, frames: f, events: f.events}
	// The library's calls end with their context, but this one.
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	c.NotifyEvents(c.events)
	err = c.Subscribe(event)
	if err == nil {
		err = c.introduce(ctx)
	}
	if err != nil {
		c.close()
		return nil, errors.Join(fmt.Errorf("ask charon: %w", err), f.reason(), ctx.Err())
	}
	return c, nil
}

func (c *session) introduce(ctx context.Context) error {
	m, err := c.Call(ctx, "version", nil)
	if err != nil {
		return err
	}
	c.version = text(m, "version")
	if m, err = c.Call(ctx, "stats", nil); err != nil {
		return err
	}
	c.userspace = slices.Contains(words(m, "plugins"), "kernel-libipsec")
	return nil
}

// close ends the connection. It may be called more than once, and by any goroutine.
func (c *session) close() { _ = c.Close() }

// list runs a command that answers by events, and calls add with each, until that returns an error.
// After an error the session cannot be used any more.
func (c *session) list(ctx context.Context, command string, add func(*vici.Message) error) error {
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	done := make(chan struct{})
	called := make(chan error, 1)
	go func() {
		// All events are in the channel before the reply is handed out.
		_, err := c.Call(ctx, command, nil)
		close(done)
		called <- err
	}()
	// A panic in add has to come out of here, so add is called here.
	taken := c.take(done, add)
	if taken != nil {
		c.close() // no receiver remains for what it still sends
	}
	if err := errors.Join(<-called, taken); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", command, err), c.frames.reason(), ctx.Err())
	}
	return nil
}

func (c *session) take(done <-chan struct{}, add func(*vici.Message) error) error {
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				return errBroken
			}
			c.frames.taken()
			if err := add(e.Message); err != nil {
				return err
			}
		case <-done:
			if len(c.events) == 0 {
				return nil
			}
		}
	}
}

// counters are what the daemon received and could not use. They need a plugin of charon.
func (c *session) counters(ctx context.Context) []gateways.DeviceCounter {
	m, err := c.Call(ctx, "get-counters", nil)
	if err != nil {
		return nil
	}
	var all []gateways.DeviceCounter
	sections(section(m, "counters"), func(_ string, of *vici.Message) {
		for name, kind := range map[string]string{"invalid": "ike_invalid_message", "invalid-spi": "ike_invalid_spi"} {
			if n := count(of, name); n.Known {
				all = append(all, gateways.DeviceCounter{Kind: kind, Value: n.Value})
			}
		}
	})
	return all
}
