package web

import (
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/trace"
)

// Peers are what is known about the peers. The results are false for a name without a peer.
type Peers interface {
	// Report returns what is known about a peer now.
	Report(name string) (*report.Report, bool)
	// Exchanges returns the kept probes to a peer with their answers, the oldest first.
	Exchanges(name string) ([]trace.Exchange, bool)
}

// ErrFormat means that reports have no such format.
var ErrFormat = errors.New("format: must be one of: " + strings.Join(slices.Sorted(maps.Keys(report.Formats())), ", "))

// shown is how many probes a page shows.
const shown = 200

// functions are what the pages call.
func functions() template.FuncMap {
	return template.FuncMap{"since": since, "clock": diagnosis.Clock, "turned": report.Turned, "path": url.PathEscape}
}

// peerPages serves the pages of peers below a root that ends in a slash.
func (s *site) peerPages(mux *http.ServeMux, root string) {
	at := "GET " + root + "peers/{name}"
	mux.HandleFunc(at, s.peer)
	mux.HandleFunc(at+"/report", s.report)
	mux.HandleFunc(at+"/pcap", s.exchanges(http.Header{
		"Content-Type": {"application/x-pcapng"}, "Content-Disposition": {`attachment; filename="ipsec_path.pcapng"`},
	}, func(w io.Writer, all []trace.Exchange) error {
		return trace.WritePcapng(w, all, s.Application)
	}))
	mux.HandleFunc(at+"/evidence", s.exchanges(http.Header{"Content-Type": {"application/json"}}, func(w io.Writer, all []trace.Exchange) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}))
}

// unknown answers for a name without a peer.
func unknown(w http.ResponseWriter) {
	text(w, http.StatusNotFound, "no peer of this name is measured\n")
}

func (s *site) peer(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	found, ok := s.Peers.Report(name)
	if !ok {
		unknown(w)
		return
	}
	exchanges, _ := s.Peers.Exchanges(name)
	exchanges = slices.Clone(exchanges[max(0, len(exchanges)-shown):])
	slices.Reverse(exchanges)
	s.page(w, "peer.html", struct {
		*report.Report
		Exchanges []trace.Exchange
	}{found, exchanges})
}

// report writes a peer's report in the requested format.
func (s *site) report(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("format")
	if name == "" {
		name = "text"
	}
	format, known := report.Formats()[name]
	found, ok := s.Peers.Report(r.PathValue("name"))
	switch {
	case !ok:
		unknown(w)
	case !known:
		text(w, http.StatusBadRequest, ErrFormat.Error()+"\n")
	default:
		header := http.Header{"Content-Type": {format.MediaType}, "Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'"}}
		s.send(w, r.URL.Path, header, func(b io.Writer) error {
			return format.Write(b, []*report.Report{found})
		})
	}
}

func (s *site) exchanges(header http.Header, write func(w io.Writer, all []trace.Exchange) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		all, ok := s.Peers.Exchanges(r.PathValue("name"))
		if !ok {
			unknown(w)
			return
		}
		s.send(w, r.URL.Path, header, func(b io.Writer) error { return write(b, all) })
	}
}

func since(t time.Time) string { return time.Since(t).Truncate(time.Second).String() }
