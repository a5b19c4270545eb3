// Package probe serves /probe: one measurement of one target for the scrape that asks for it, in the
// form of blackbox_exporter.
//
//	request ──▶ target ──▶ gate: one at a time for an address, some at a time, some a second
//	                         │
//	                         ▼ until the scrape's time is over or the client has left
//	                       check.OnDemand ──▶ the families of /metrics, probe_success
//
// It measures beside the schedule, by the same sockets: what the schedule may not send to an address
// that stays silent, a request may not either. The package decides nothing about a path.
package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/store"
)

const (
	// TimeoutHeader is how long Prometheus waits for the scrape, in seconds.
	TimeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"
	// longest is how long a request may take, and what one without TimeoutHeader has, as for the
	// command check.
	longest = 2 * time.Minute
	// shortest is the least time in which anything can be found out.
	shortest = 500 * time.Millisecond
	// writing is how long the client may take to read the page.
	writing = 10 * time.Second
)

// A Source knows the targets and measures them.
type Source interface {
	// Find returns the peer of a target with the settings of a module, its own if that is empty. Its
	// error is shown to the client. known is what is known of it where it must not be asked now, else
	// nil.
	Find(target, module string) (peer config.Peer, known *check.Outcome, err error)
	// Address returns the address of the peer to measure.
	Address(ctx context.Context, peer config.Peer) (netip.Addr, error)
	// Measure measures a peer of a known address until ctx ends.
	Measure(ctx context.Context, peer config.Peer) *check.Outcome
	// Answered reports whether an address has answered anything since a time.
	Answered(peer config.Peer, since time.Time) bool
	// Expose makes the series of an outcome.
	Expose(o *check.Outcome, to *store.Peer)
}

// Config is what a Handler needs.
type Config struct {
	Log    *slog.Logger
	Source Source
	// Limits returns the limits that hold now.
	Limits func() config.Limits
	// Offset is subtracted from the time of a scrape, for the way of the page to Prometheus.
	Offset time.Duration
	// Life returns the context of the program: with it, requests end.
	Life func() context.Context
}

// A Handler serves /probe.
type Handler struct {
	Config
	gate     *gate
	requests *requests
}

// New makes a Handler.
func New(cfg Config) *Handler {
	return &Handler{Config: cfg, gate: newGate(), requests: newRequests()}
}

// Why a request is refused.
var (
	errTarget  = errors.New("target is missing: give /probe?target=NAME, with the name or address of a configured peer")
	errTimeout = errors.New("must be a number of seconds")
	errShort   = errors.New("leaves too little time to measure")
	errEnded   = errors.New("the program ends")
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	limit, err := h.timeout(r)
	if err != nil {
		h.refuse(w, http.StatusBadRequest, err)
		return
	}
	query := r.URL.Query()
	target := query.Get("target")
	if target == "" {
		h.refuse(w, http.StatusBadRequest, errTarget)
		return
	}
	peer, known, err := h.Source.Find(target, query.Get("module"))
	if err != nil {
		h.refuse(w, http.StatusBadRequest, err)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(began.Add(limit + writing)) // it has the server's own otherwise
	ctx, cancel := context.WithDeadlineCause(r.Context(), began.Add(limit), fmt.Errorf("the time of the scrape is over (%v)", limit))
	defer cancel()
	defer context.AfterFunc(h.Life(), cancel)()
	var result *result
	how := resultKnown
	if known != nil {
		result, err = h.render(peer, known, began)
	} else {
		result, how, err = h.measure(ctx, peer, query.Get("module"))
	}
	if err == nil && errors.Is(ctx.Err(), context.Canceled) {
		err = errEnded
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.requests.count(how)
	h.write(w, r, result)
}

// timeout returns how long a request may take.
func (h *Handler) timeout(r *http.Request) (time.Duration, error) {
	text := r.Header.Get(TimeoutHeader)
	if text == "" {
		return longest, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0) { // NaN is not
		return 0, fmt.Errorf("%s: %q: %w", TimeoutHeader, text, errTimeout)
	}
	limit := time.Duration(min(seconds, longest.Seconds()) * float64(time.Second))
	if limit -= h.Offset; limit < shortest {
		return 0, fmt.Errorf("%s: %q: %w (--web.probe-timeout-offset=%v)", TimeoutHeader, text, errShort, h.Offset)
	}
	return limit, nil
}

// refuse answers a request that is wrong.
func (h *Handler) refuse(w http.ResponseWriter, code int, err error) {
	h.requests.count(resultRefused)
	http.Error(w, err.Error(), code)
}

// fail answers a request that could not be served.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case r.Context().Err() != nil:
		h.requests.count(resultGone) // nothing is read any more
		return
	case errors.Is(err, errRate):
		w.Header().Set("Retry-After", "1")
		h.refuse(w, http.StatusTooManyRequests, err)
	default:
		h.refuse(w, http.StatusServiceUnavailable, err)
	}
	h.Log.Debug("probe not made", "target", r.URL.Query().Get("target"), "err", err)
}

// write writes the page of a result in the form that the client accepts, or with debug=true the
// report.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, result *result) {
	if r.URL.Query().Get("debug") != "true" {
		promhttp.HandlerFor(result, promhttp.HandlerOpts{
			EnableOpenMetrics: true, ErrorLog: slog.NewLogLogger(h.Log.Handler(), slog.LevelError),
		}).ServeHTTP(w, r)
		return
	}
	format := report.Formats()["text"]
	w.Header().Set("Content-Type", format.MediaType)
	if err := format.Write(w, []*report.Report{result.report}); err != nil { // the client is gone
		h.Log.Debug("report not written", "peer", result.report.Peer, "err", err)
	}
}
