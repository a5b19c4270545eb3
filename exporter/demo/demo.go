// Package demo shows the exporter at work where there is nothing to measure: it builds simulated providers in namespaces of its own, one healthy
// peer and one behind each classic fault, and serves what the exporter finds about them. It measures nothing itself and knows no other
// exporter than that of `serve`; what it adds is the laboratory of the tests, and a configuration for it.
//
//	the user's process                          a copy of it, in user, network and mount namespaces
//	opens the listeners ───── handed over ────▶ builds the providers, runs what `serve` runs
//	prints what is where     ◀──── HTTP ───────
//	and each diagnosis
//	ends  ────────────── SIGTERM, or its death: SIGKILL ──▶ ends, and with it all namespaces
//
// Nothing has a name outside: no file, interface, mount or namespace can be left behind.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

// Options are what the command line says.
type Options struct {
	// Listen are the addresses of the host to serve at.
	Listen []string
	// Out is where people read what they see.
	Out io.Writer
	// Log is for what the exporter has to say.
	Log *slog.Logger
}

// ErrTold means that the demonstration failed and that its other process has said why.
var ErrTold = netlab.ErrFailed

// errParentEnded is the end of the `go run` that started this process: it passes on no signal but that of Ctrl-C.
var errParentEnded = errors.New("the go command that ran the demonstration has ended")

// Run shows the demonstration until ctx ends.
func Run(ctx context.Context, o Options) error {
	if netlab.Enter() {
		return inside(ctx, len(o.Listen), o.Log)
	}
	began := time.Now()
	listeners, files, err := listen(ctx, o.Listen)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go watchParent(ctx, cancel)
	visits, leave := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		v := visitor{out: o.Out, began: began, base: baseURL(listeners[0]), peers: peers()}
		v.visit(visits)
	}()
	err = netlab.RunInside(ctx, files...)
	leave()
	<-done
	switch {
	case errors.Is(err, netlab.ErrRefused):
		return refused(err)
	case err != nil && ctx.Err() == nil, errors.Is(context.Cause(ctx), errParentEnded):
		return err
	}
	fmt.Fprintln(o.Out, "The demonstration has ended, and its namespaces with it.")
	return err
}

// listen opens the listeners before anything is built, in the form in which they can be handed over.
func listen(ctx context.Context, addresses []string) (at []net.Addr, files []*os.File, err error) {
	for _, a := range addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a)
		if err != nil {
			return at, files, fmt.Errorf("%w (--web.listen-address takes another one)", err)
		}
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return at, files, fmt.Errorf("a %T cannot be handed over", l)
		}
		f, err := tcp.File()
		if err != nil {
			return at, files, errors.Join(fmt.Errorf("listener at %s: %w", a, err), l.Close())
		}
		files = append(files, f)
		at = append(at, l.Addr())
		if err := l.Close(); err != nil { // the file goes on listening
			return at, files, fmt.Errorf("listener at %s: %w", a, err)
		}
	}
	return at, files, nil
}

// baseURL is where the user finds the listener.
func baseURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err != nil || ip.IsUnspecified() || ip.IsLoopback() && ip.To4() != nil {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// refused says what can be done where the system allows no namespaces.
func refused(err error) error {
	if os.Geteuid() == 0 {
		return fmt.Errorf("the demonstration needs network namespaces, which this system refuses even to root: %w; in a container, start that with more rights", err)
	}
	return fmt.Errorf("the demonstration needs namespaces, which this system refuses to an ordinary user: %w; "+
		"run it as root (go build . && sudo ./ipsec_path_exporter demo), or allow them (sysctl kernel.apparmor_restrict_unprivileged_userns=0, "+
		"kernel.unprivileged_userns_clone=1 or user.max_user_namespaces, whichever the system has)", err)
}

// parentEvery is how often it is looked whether `go run` still runs.
const parentEvery = 500 * time.Millisecond

// watchParent ends the demonstration with the `go run` that started it. Other parents may go, as a shell does that was told to leave it running.
func watchParent(ctx context.Context, end context.CancelCauseFunc) {
	parent := os.Getppid()
	name, err := os.ReadFile("/proc/" + strconv.Itoa(parent) + "/comm")
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	ticker := time.NewTicker(parentEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if os.Getppid() != parent {
				end(errParentEnded)
				return
			}
		}
	}
}
