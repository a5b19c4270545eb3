package dashboards

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A server is a real Prometheus on loopback.
type server struct {
	url string
	pid int
}

// need finds the programs, or skips the test.
func need(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("REQUIRE_DAEMONS") == "1" {
				tb.Fatalf("%s is required: %v", p, err)
			}
			tb.Skipf("%s is needed: %v", p, err)
		}
	}
}

// serve starts a Prometheus that has what the world says, and scrapes nothing.
func serve(t *testing.T, w *world) server {
	t.Helper()
	return serveText(t, w.text())
}

// serveText starts a Prometheus that has what a text in the OpenMetrics format says.
func serveText(t *testing.T, text string) server {
	t.Helper()
	need(t, "prometheus", "promtool")
	dir := t.TempDir()
	input, data := filepath.Join(dir, "world.txt"), filepath.Join(dir, "data")
	if err := os.WriteFile(input, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", input, data).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	return start(t, dir, data, "global: {}\n")
}

// start starts a Prometheus with a configuration, and ends it with the test.
func start(tb testing.TB, dir, data, config string, flags ...string) server {
	tb.Helper()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus", append([]string{
		"--config.file=" + file, "--storage.tsdb.path=" + data, "--web.listen-address=" + address, "--log.level=warn",
	}, flags...)...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && tb.Failed() {
			tb.Logf("prometheus: %s", text)
		}
	})
	s := server{"http://" + address, cmd.Process.Pid}
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	for !s.ready(ctx) {
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log.Name())
			tb.Fatalf("prometheus did not get ready\n%s", text)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return s
}

func (s server) ready(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/-/ready", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// A result is one series of an answer.
type result struct {
	Metric map[string]string `json:"metric"`
	// Value and Values are pairs of a time and a number in quotes; the others are of native
	// histograms.
	Value      [2]any            `json:"value"`
	Values     [][2]any          `json:"values"`
	Histograms []json.RawMessage `json:"histograms"`
	Histogram  json.RawMessage   `json:"histogram"`
}

// numbers are the values that are numbers.
func (r result) numbers() []float64 {
	pairs := r.Values
	if r.Value[1] != nil {
		pairs = append(pairs, r.Value)
	}
	var all []float64
	for _, p := range pairs {
		s, ok := p[1].(string)
		if v, err := strconv.ParseFloat(s, 64); ok && err == nil && v == v {
			all = append(all, v)
		}
	}
	return all
}

// now asks for the values at a time, over for the values of the hour before it.
func (s server) now(tb testing.TB, expr string, at int64) []result {
	tb.Helper()
	return s.ask(tb, "/api/v1/query", url.Values{"query": {expr}, "time": {strconv.FormatInt(at, 10)}})
}

func (s server) over(tb testing.TB, expr string, from, to, step int64) []result {
	tb.Helper()
	return s.ask(tb, "/api/v1/query_range", url.Values{
		"query": {expr}, "start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)}, "step": {strconv.FormatInt(step, 10)},
	})
}

func (s server) ask(tb testing.TB, path string, form url.Values) []result {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		Error    string
		Warnings []string
		Data     struct{ Result []result }
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		tb.Fatalf("%s: %v", form.Get("query"), err)
	}
	if body.Error != "" || len(body.Warnings) > 0 {
		tb.Errorf("%s: %s %s", form.Get("query"), body.Error, fmt.Sprint(body.Warnings))
	}
	return body.Data.Result
}
