// Package exposition serves the metrics of the peers and of the process as one page, in the format that
// a scraper asks for. It behaves as the handler of promhttp, and writes the same bytes, but the page
// never exists as a whole: a part of some hundred series is made, encoded and sent before the next.
//
//	process registry --families-->
//	store.Page       --parts----->  by name --> encoder --> gzip --> client
//	gateways.Page    --parts----->
//
// A page that a client reads so slowly that newer ones find no room or no turn is broken off.
package exposition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/store"
)

// A Config says what is served. No two families have the same name.
type Config struct {
	Peers *store.Store
	// Gateways, if set, are the series of gateways.
	Gateways *gateways.Metrics
	// Process gathers the metrics of the process itself.
	Process prometheus.Gatherer
	Log     *slog.Logger
}

type handler struct {
	Config

	turns turns
}

// gzipLevel takes a tenth of the time of the default level, for a sixth more bytes.
const gzipLevel = 2

// Handler serves metrics. Errors of what gathers those of the process are logged, and what could be
// gathered is served.
func Handler(c Config) http.Handler {
	compress, err := gzhttp.NewWrapper(
		gzhttp.CompressionLevel(gzipLevel), gzhttp.EnableZstd(false), gzhttp.ContentTypeFilter(gzhttp.CompressAllContentTypeFilter),
	)
	if err != nil { // only for options that contradict each other
		panic(fmt.Sprintf("exposition: %v", err))
	}
	return compress(&handler{Config: c, turns: turns{taken: make(chan struct{}, MaxPages)}})
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	w.Header().Add("Vary", "Accept")
	w.Header().Set("Content-Type", string(format))
	if r.Method == http.MethodHead {
		return // the page is made while it is sent
	}
	stop := &brake{to: w}
	defer stop.release()
	switch err := h.turns.take(r.Context(), stop); {
	case errors.Is(err, errTurns):
		http.Error(w, fmt.Sprintf("Limit of %d scrapes at once reached, try again later.", MaxPages), http.StatusServiceUnavailable)
		return
	case err != nil:
		return // the client is gone
	}
	defer h.turns.leave(stop)
	if r.Context().Err() != nil {
		return // the client is gone: clients that only ask must not take the processor from those that read
	}
	process, gathering := h.Process.Gather()
	if gathering != nil {
		h.Log.Error("gathering metrics failed", "err", gathering)
	}
	page, err := h.Peers.Open(r.Context(), stop.pull)
	if err != nil {
		http.Error(w, "Too many scrapes are read slowly, try again later.", http.StatusServiceUnavailable)
		return
	}
	defer page.Close()
	if gathering != nil && len(process) == 0 && page.Len() == 0 {
		http.Error(w, "An error has occurred while serving metrics:\n\n"+gathering.Error(), http.StatusInternalServerError)
		return
	}
	out := newEncoder(w, format)
	defer out.release()
	all := slices.Concat(processEntries(out, process), entries(out, page))
	if h.Gateways != nil {
		tunnels := h.Gateways.Open()
		defer tunnels.Close()
		all = append(all, entries(out, tunnels)...)
	}
	h.write(r.Context(), out, all, selected(r))
}

// An entry is a family to be written.
type entry struct {
	name  string
	write func() error
}

func processEntries(out *encoder, families []*dto.MetricFamily) []entry {
	all := make([]entry, 0, len(families))
	for _, f := range families {
		all = append(all, entry{f.GetName(), func() error { return out.family(f) }})
	}
	return all
}

func entries(out *encoder, p page) []entry {
	all := make([]entry, 0, p.Len())
	for i := range p.Len() {
		all = append(all, entry{p.Name(i), func() error { return out.parts(p, i) }})
	}
	return all
}

// A brake ends the writing of a page. The response must not be touched after its handler has returned.
type brake struct {
	mu sync.Mutex
	to http.ResponseWriter
}

// pull makes the write that waits for the client, and all later ones, fail at once, where the
// response can do that.
func (b *brake) pull() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.to != nil {
		_ = http.NewResponseController(b.to).SetWriteDeadline(time.Unix(1, 0))
	}
}

func (b *brake) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = nil
}

// A selection holds the names of the families that a client wants, nil if all.
type selection map[string]bool

// selected reads the parameter name[], by which promhttp selects families.
func selected(r *http.Request) selection {
	names := r.URL.Query()["name[]"]
	if len(names) == 0 {
		return nil
	}
	s := make(selection, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// write sends the families in the order of their names, while there is a client. A family that cannot
// be encoded is left out.
func (h *handler) write(ctx context.Context, out *encoder, all []entry, only selection) {
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range all {
		if only != nil && !only[e.name] {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		err := e.write()
		if out.client.err != nil {
			break
		}
		if err != nil {
			h.Log.Error("encoding metrics failed", "family", e.name, "err", err)
		}
	}
	if err := out.close(); err != nil {
		h.Log.Warn("sending metrics failed", "err", err)
	}
}
