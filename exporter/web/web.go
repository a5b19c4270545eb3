// Package web is the HTTP side of the exporter: metrics, health, reload, service discovery, the
// list of peers and a page for each peer. It measures nothing and keeps no state.
//
//	snapshots ──▶ index: level, filter, order ────────────────▶ index.html ──▶ gzip
//	          └─▶ peer page: verdicts, drawing, ladders, ─────▶ peer.html
//	              strips, timeline, SA tables, evidence
//
// The pages work without JavaScript and load nothing: style and drawings are inline. texts/ says
// what to do about each diagnosis. What is unknown is shown as unknown, neither as a fault nor as
// health.
package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/internal/untrusted"
)

// Config is what to serve.
type Config struct {
	Log *slog.Logger
	// RoutePrefix is the path below which all pages are, "/" for none.
	RoutePrefix string
	// TelemetryPath is the path of Metrics.
	TelemetryPath string
	Metrics       http.Handler
	// Application names this program in files that it writes.
	Application string
	// Ready reports whether measuring has started.
	Ready func() bool
	// Lifecycle lets clients have the configuration reloaded. Reload reads it again; its error is shown
	// to the client.
	Lifecycle bool
	Reload    func(ctx context.Context) error
	Status    func() Status
	Peers     Peers
	// Targets are the peers for Prometheus's HTTP service discovery; Probe measures one of them.
	Targets func() []TargetGroup
	Probe   http.Handler
	// Grafana is the URL of the Grafana that has the boards, empty if there is none. Runbooks is
	// the URL before the name of a diagnosis, DefaultRunbooks if it is empty.
	Grafana, Runbooks string
	// Now is the clock, time.Now if it is nil.
	Now func() time.Time
}

// DefaultRunbooks is the list of runbooks, with an anchor for each diagnosis.
const DefaultRunbooks = "https://github.com/ipsec-path-exporter/ipsec_path_exporter/blob/main/docs/runbooks/README.md#"

// Status is what the list of peers shows.
type Status struct {
	Version string
	Started time.Time
	// Degraded are missing privileges of this process, and what they prevent.
	Degraded []string
	// Peers are reports without what takes long to find out: routes, gateways and history.
	Peers []*report.Report
}

// Timeouts of the server. A client that stops reading would hold the snapshot of the metrics.
const (
	readHeaderTimeout = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	// readTimeout is that of a whole request. None has a body that is read.
	readTimeout = 20 * time.Second
)

// The most that a request may have, in bytes.
const (
	maxHeader = 64 << 10
	maxBody   = 64 << 10
)

// ErrPath means that metrics cannot be served at the configured path.
var ErrPath = errors.New("not a possible path")

// ErrURL means that a browser could not open an external URL.
var ErrURL = errors.New("not a URL such as https://exporter.example.com/path")

//go:embed *.html texts
var files embed.FS

// A site serves the pages of one Config.
type site struct {
	Config
	pages *template.Template
	// telemetry is the whole path of the metrics.
	telemetry string
}

// now is the time of the configured clock.
func (s *site) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Server makes the HTTP server; exporter-toolkit listens for it.
func Server(cfg Config) (*http.Server, error) {
	h, err := Handler(cfg)
	if err != nil {
		return nil, err
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		MaxHeaderBytes:    maxHeader,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
	}, nil
}

// Handler serves all pages below the route prefix, and redirects the root there.
func Handler(cfg Config) (http.Handler, error) {
	pages, err := template.New("").Option("missingkey=error").Funcs(functions()).ParseFS(files, "*.html")
	if err != nil {
		return nil, err
	}
	prefix := "/" + strings.Trim(cfg.RoutePrefix, "/")
	at := func(p string) string { return path.Join(prefix, p) }
	s := &site{Config: cfg, pages: pages, telemetry: at(cfg.TelemetryPath)}
	s.Runbooks = cmp.Or(s.Runbooks, DefaultRunbooks)
	if err := checkPaths(prefix, at(cfg.TelemetryPath), at("/"), at("/-/healthy"), at("/-/ready"), at("/-/reload"),
		at("/sd"), at("/probe")); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+at(cfg.TelemetryPath), cfg.Metrics)
	mux.HandleFunc("GET "+at("/-/healthy"), func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "healthy\n")
	})
	mux.HandleFunc("GET "+at("/-/ready"), s.ready)
	reload := http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.reload))
	mux.Handle("POST "+at("/-/reload"), reload)
	mux.Handle("PUT "+at("/-/reload"), reload)
	root := strings.TrimSuffix(prefix, "/") + "/"
	mux.HandleFunc("GET "+root+"{$}", s.index)
	s.peerPages(mux, root)
	mux.HandleFunc("GET "+at("/sd"), s.targets)
	if cfg.Probe != nil {
		mux.Handle("GET "+at("/probe"), cfg.Probe)
	}
	if root != "/" {
		mux.Handle("GET /{$}", http.RedirectHandler(root, http.StatusFound))
	}
	return guarded(mux), nil
}

// guarded bounds the bodies of requests, and has browsers keep to the types of answers and show no page
// inside another site's.
func guarded(h http.Handler) http.Handler {
	return http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Referrer-Policy", "same-origin")
		h.ServeHTTP(w, r)
	}), maxBody)
}

// checkPaths refuses paths at which http.ServeMux would panic: pattern signs and duplicates.
func checkPaths(prefix, telemetry string, own ...string) error {
	const patternSigns = "{} "
	switch {
	case strings.ContainsAny(prefix, patternSigns):
		return fmt.Errorf("%w: --web.route-prefix=%s", ErrPath, prefix)
	case strings.ContainsAny(telemetry, patternSigns):
		return fmt.Errorf("%w: --web.telemetry-path=%s", ErrPath, telemetry)
	case slices.Contains(own, telemetry):
		return fmt.Errorf("%w: --web.telemetry-path=%s is a page of the exporter itself", ErrPath, telemetry)
	}
	return nil
}

func (s *site) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.Ready() {
		text(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	text(w, http.StatusOK, "ready\n")
}

func (s *site) reload(w http.ResponseWriter, r *http.Request) {
	if !s.Lifecycle {
		text(w, http.StatusForbidden, "reloading by HTTP is not enabled (--web.enable-lifecycle); SIGHUP reloads as well\n")
		return
	}
	if err := s.Reload(r.Context()); err != nil {
		text(w, http.StatusInternalServerError, "reload failed; keeping the current configuration:\n"+err.Error()+"\n")
		return
	}
	text(w, http.StatusOK, "reloaded\n")
}

// policy lets a browser load nothing for a page, and run nothing.
const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (s *site) page(w http.ResponseWriter, r *http.Request, name string, data any) {
	s.send(w, r, name, http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Content-Security-Policy": {policy}, "Cache-Control": {"no-store"},
	}, func(b io.Writer) error {
		// Templates escape what HTML obeys, and not what a reader does not see.
		return s.pages.ExecuteTemplate(untrusted.Writer(b), name, data)
	})
}

// send renders a page completely before it sends the first byte, so that a failure has its status.
func (s *site) send(w http.ResponseWriter, r *http.Request, page string, header http.Header, render func(io.Writer) error) {
	var b bytes.Buffer
	if err := render(&b); err != nil {
		s.failed(w, page, err)
		return
	}
	maps.Copy(w.Header(), header)
	compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(b.Bytes()); err != nil { // the client is gone
			s.Log.Debug("page not written", "page", page, "err", err)
		}
	}))(w, r)
}

// worthCompressing is the size from which compression saves a packet.
const worthCompressing = 1400

// compress sends what a handler writes as the client accepts it.
var compress = newCompressor()

func newCompressor() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(worthCompressing), gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.EnableZstd(false),
		gzhttp.ContentTypeFilter(gzhttp.CompressAllContentTypeFilter),
	)
	if err != nil { // only for options that contradict each other
		panic(fmt.Sprintf("web: %v", err))
	}
	return wrap
}

// failed answers that a page could not be rendered.
func (s *site) failed(w http.ResponseWriter, page string, err error) {
	s.Log.Error("page not rendered", "page", page, "err", err)
	text(w, http.StatusInternalServerError, "page not rendered: "+err.Error()+"\n")
}

func text(w http.ResponseWriter, code int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(untrusted.Writer(w), s) //nolint:errcheck // the client is gone
}

// CheckLinks refuses URLs to which a page could not link. An empty one is none.
func CheckLinks(grafana, runbooks string) error {
	for flag, link := range map[string]string{"grafana": grafana, "runbook": runbooks} {
		if u, err := url.Parse(link); link != "" && (err != nil || !isWeb(u)) {
			return fmt.Errorf("--web.%s-url: %q: %w", flag, link, ErrURL)
		}
	}
	return nil
}

// isWeb reports whether a browser opens a URL as a page.
func isWeb(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" }

// RoutePrefix returns the prefix to use: the given one, or else the path of the external URL.
func RoutePrefix(given, externalURL string) (string, error) {
	if given != "" {
		return given, nil
	}
	if externalURL == "" {
		return "/", nil
	}
	u, err := url.Parse(externalURL)
	if err != nil {
		return "", err
	}
	if !isWeb(u) {
		return "", fmt.Errorf("%q: %w", externalURL, ErrURL)
	}
	return "/" + strings.Trim(u.Path, "/"), nil
}
