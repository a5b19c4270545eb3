// Package web is the HTTP side of the exporter: metrics, health, reload and a status page for people. It measures nothing and
// keeps no state: what it shows it asks for.
package web

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Config says what to serve.
type Config struct {
	Log *slog.Logger
	// RoutePrefix is the path below which everything stands, "/" for none.
	RoutePrefix string
	// TelemetryPath is where Metrics stand.
	TelemetryPath string
	Metrics       http.Handler
	// Ready tells whether measuring has begun.
	Ready func() bool
	// Reload reads the configuration again. Its error is shown to the caller.
	Reload func(ctx context.Context) error
	// Status is what the status page shows, Dossiers what the pages of peers do.
	Status   func() Status
	Dossiers Dossiers
}

// Status is what the status page shows.
type Status struct {
	Version string
	Started time.Time
	// Degraded says what this process may not do, empty if it may do everything.
	Degraded []string
	Peers    []Peer
}

// Peer is one line of the status page; what is unknown is empty.
type Peer struct {
	Name, Address string
	// Health is "healthy", "faulty" or "unknown".
	Health string
	ICMP   string
	IKE    []string
	MTU    []string
	// Diagnoses are the names of those that hold, Summaries what they say.
	Diagnoses []Diagnosis
}

// Path is where the peer's page stands, relative to the status page's folder and to itself.
func (p Peer) Path() string { return url.PathEscape(p.Name) }

// Diagnosis is one that holds.
type Diagnosis struct {
	Name, Summary string
	Since         time.Time
	// Gateway is the one whose SA table shows it, empty for one of the path. Flapping means that it has turned often lately.
	Gateway  string
	Flapping bool
	Evidence []string
}

// Timeouts of the server. A client that stops reading is cut off: a scrape that nobody reads must not hold its page for ever.
const (
	readHeaderTimeout = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// ErrPath means that metrics cannot stand under the configured path.
var ErrPath = errors.New("not a possible path")

// ErrURL means that an external URL is none that a browser could open.
var ErrURL = errors.New("not a URL such as https://exporter.example.com/path")

//go:embed status.html
var statusPage string

// Server makes the HTTP server; exporter-toolkit listens for it.
func Server(cfg Config) (*http.Server, error) {
	h, err := Handler(cfg)
	if err != nil {
		return nil, err
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
	}, nil
}

// Handler serves everything below the route prefix, and sends whoever asks for the root there.
func Handler(cfg Config) (http.Handler, error) {
	page, err := template.New("status").Funcs(template.FuncMap{"since": since}).Parse(statusPage)
	if err != nil {
		return nil, err
	}
	prefix := "/" + strings.Trim(cfg.RoutePrefix, "/")
	at := func(p string) string { return path.Join(prefix, p) }
	if err := checkPaths(prefix, at(cfg.TelemetryPath), at("/"), at("/-/healthy"), at("/-/ready"), at("/-/reload")); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+at(cfg.TelemetryPath), cfg.Metrics)
	mux.HandleFunc("GET "+at("/-/healthy"), func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "healthy\n")
	})
	mux.HandleFunc("GET "+at("/-/ready"), func(w http.ResponseWriter, _ *http.Request) {
		if !cfg.Ready() {
			text(w, http.StatusServiceUnavailable, "not ready\n")
			return
		}
		text(w, http.StatusOK, "ready\n")
	})
	reload := func(w http.ResponseWriter, r *http.Request) {
		if err := cfg.Reload(r.Context()); err != nil {
			text(w, http.StatusInternalServerError, "reload failed, the running configuration stays:\n"+err.Error()+"\n")
			return
		}
		text(w, http.StatusOK, "reloaded\n")
	}
	mux.HandleFunc("POST "+at("/-/reload"), reload)
	mux.HandleFunc("PUT "+at("/-/reload"), reload)
	root := strings.TrimSuffix(prefix, "/") + "/"
	mux.HandleFunc("GET "+root+"{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		view := struct {
			Status
			Telemetry string
		}{cfg.Status(), at(cfg.TelemetryPath)}
		if err := page.Execute(w, view); err != nil {
			cfg.Log.Debug("the status page could not be written", "err", err)
		}
	})
	if err := peerPages(mux, root, &cfg); err != nil {
		return nil, err
	}
	if root != "/" {
		mux.Handle("GET /{$}", http.RedirectHandler(root, http.StatusFound))
	}
	return mux, nil
}

// checkPaths refuses what http.ServeMux would panic at: paths that hold the signs of its patterns, and those that are there twice.
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

func text(w http.ResponseWriter, code int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	w.Write([]byte(s))
}

func since(t time.Time) string { return time.Since(t).Truncate(time.Second).String() }

// RoutePrefix returns the prefix to use: the one that was given, else the path of the external URL.
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
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%q: %w", externalURL, ErrURL)
	}
	return "/" + strings.Trim(u.Path, "/"), nil
}
