package exporter

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/report"
)

// TestWatch: a person sees the verdict and the echoes of a peer, ends by q, and gets the terminal
// back with the report.
func TestWatch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	controller, terminal := exportertest.Terminal(t)
	var screen exportertest.Page
	go io.Copy(&screen, controller)
	cfg, err := config.FromArguments([]string{"hq=" + l.Address(false)})
	if err != nil {
		t.Fatal(err)
	}
	before := mode(t, terminal)
	a := l.app(t, cfg, slog.New(slog.DiscardHandler), false)
	type outcome struct {
		reports []*report.Report
		err     error
	}
	ended := make(chan outcome, 1)
	go func() {
		reports, err := a.watch(t.Context(), cfg, terminal, terminal)
		ended <- outcome{reports, err}
	}()
	exportertest.Eventually(t, time.Minute, "a verdict and an echo each second", func() bool {
		s := screen.String()
		return strings.Contains(s, "): no fault found") && strings.Contains(s, "3 echoes, 0.0 % lost; last ") && strings.Contains(s, "4 echoes, ")
	})
	if mode(t, terminal) == before {
		t.Error("keys are not read one by one")
	}
	if _, err := controller.WriteString("\x1b[Aq"); err != nil { // the arrow up does not end it
		t.Fatal(err)
	}
	select {
	case out := <-ended:
		if out.err != nil || len(out.reports) != 1 || !out.reports[0].Healthy {
			t.Errorf("%v, reports %+v", out.err, out.reports)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("q does not end it")
	}
	const enter, leave = "\x1b[?1049h", "\x1b[?1049l"
	exportertest.Eventually(t, time.Minute, "the former screen", func() bool { return strings.HasSuffix(screen.String(), leave) })
	if !strings.HasPrefix(screen.String(), enter) {
		t.Error("it does not draw on the alternate screen")
	}
	if mode(t, terminal) != before {
		t.Error("the keyboard is not as it was")
	}
}

// mode is how a terminal treats what is typed (termios(3)).
func mode(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// TestWatchNeedsATerminal: where there is none, or something else is asked for, it says so and
// sends nothing.
func TestWatchNeedsATerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	twice := &check.Options{Targets: []string{"127.0.0.1"}, Output: "text", Timeout: time.Minute, Via: []string{"lo", "127.0.0.1"}}
	if err := Watch(t.Context(), twice, file, file); err == nil || err.Error() != "--watch: shows one way to a peer: give --via once" {
		t.Errorf("two ways: %v", err)
	}
	for output, want := range map[string]string{
		"text": "--watch: needs a terminal", "json": "--watch: shows text on a terminal: not with --output or --pcap",
	} {
		o := &check.Options{Targets: []string{"127.0.0.1"}, Output: output, Timeout: time.Minute, Stdout: io.Discard, Stderr: io.Discard}
		if err := Watch(t.Context(), o, file, file); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", output, err, want)
		}
	}
}
