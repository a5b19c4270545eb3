package strongswan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// buffer is how many messages may wait for us. The library drops what does not fit.
const buffer = 1 << 16

// errOverflow says that messages came faster than they could be taken.
var errOverflow = errors.New("charon sends faster than this program can read: some of its messages are lost")

// errBroken says that the daemon is gone.
var errBroken = errors.New("charon closed the connection")

// A session is one connection to the daemon, subscribed to one event.
type session struct {
	*vici.Session
	event   string
	events  chan vici.Event
	version string
	// userspace says that the daemon does ESP itself: what the kernel believes of the path is then not what its packets go by.
	userspace bool
}

// open connects, and asks what the daemon is.
func open(ctx context.Context, network, address, event string) (*session, error) {
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	v, err := vici.NewSession(vici.WithAddr(network, address), vici.WithDialContext(dial))
	if err != nil {
		return nil, fmt.Errorf("connect to charon: %w", err)
	}
	c := &session{Session: v, event: event, events: make(chan vici.Event, buffer)}
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
		return nil, errors.Join(fmt.Errorf("ask charon: %w", err), ctx.Err())
	}
	return c, nil
}

// introduce asks for version and plugins.
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
func (c *session) close() {
	_ = c.Close() // Nothing is left to be lost.
}

// list runs a command that answers by events, and hands those to add. After an error the session is of no use any more.
func (c *session) list(ctx context.Context, command string, add func(*vici.Message)) error {
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
		c.close() // nobody takes what it still sends
	}
	if err := errors.Join(<-called, taken); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", command, err), ctx.Err())
	}
	return nil
}

// take hands over events until done, and then those that are left.
func (c *session) take(done <-chan struct{}, add func(*vici.Message)) error {
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				return errBroken
			}
			if len(c.events) >= buffer-1 {
				return errOverflow // It was full when this one was taken out, so others may not have fitted.
			}
			add(e.Message)
			continue
		default:
		}
		select {
		case e, ok := <-c.events:
			if !ok {
				return errBroken
			}
			add(e.Message)
		case <-done:
			if len(c.events) == 0 {
				return nil
			}
		}
	}
}

// counters are what the daemon received and could not use. It needs a plugin that not everybody loads: without it there are none.
func (c *session) counters(ctx context.Context) []gateways.DeviceCounter {
	m, err := c.Call(ctx, "get-counters", nil)
	if err != nil {
		return nil
	}
	var all []gateways.DeviceCounter
	sections(section(m, "counters"), func(_ string, of *vici.Message) {
		for name, kind := range map[string]string{"invalid": "ike_invalid_message", "invalid-spi": "ike_invalid_spi"} {
			if v, err := strconv.ParseUint(text(of, name), 10, 64); err == nil {
				all = append(all, gateways.DeviceCounter{Kind: kind, Value: v})
			}
		}
	})
	return all
}
