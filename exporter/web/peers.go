package web

import (
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/untrusted"
)

// Peers are what is known about the peers. The results are false for a name without a peer.
type Peers interface {
	// Report returns what is known about a peer now.
	Report(name string) (*report.Report, bool)
	// Exchanges returns the kept probes to a peer with their answers, the oldest first.
	Exchanges(name string) ([]trace.Exchange, bool)
	// Day returns what the path was like in the last 24 hours.
	Day(name string) ([lastday.Quarters]lastday.Sample, bool)
}

// ErrFormat means that reports have no such format.
var ErrFormat = errors.New("format: must be one of: " + strings.Join(slices.Sorted(maps.Keys(report.Formats())), ", "))

// functions are what the pages call.
func functions() template.FuncMap {
	return template.FuncMap{
		"age": age, "clock": clock, "turned": report.Turned, "lost": lost, "path": url.PathEscape, "at": func(i int) int { return i * markWidth },
		"inc": func(n int) int { return n + 1 }, "dec": func(n int) int { return n - 1 },
	}
}

// peerPages serves the pages of peers below a root that ends in a slash.
func (s *site) peerPages(mux *http.ServeMux, root string) {
	at := "GET " + root + "peers/{name}"
	mux.HandleFunc(at, s.peer)
	mux.HandleFunc(at+"/report", s.report)
	mux.HandleFunc(at+"/pcap", s.pcap)
	mux.HandleFunc(at+"/evidence", s.exchanges("application/json", func(w io.Writer, all []trace.Exchange) error {
		if all == nil {
			all = []trace.Exchange{} // a list, not null
		}
		e := json.NewEncoder(untrusted.Writer(w))
		e.SetIndent("", "  ")
		return e.Encode(all)
	}))
}

// notFound answers for a name without a peer.
func notFound(w http.ResponseWriter) {
	text(w, http.StatusNotFound, "no peer of this name is measured\n")
}

// pcap writes the kept packets as a file that is named after the peer.
func (s *site) pcap(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": fileName(r.PathValue("name"))}))
	s.exchanges("application/x-pcapng", func(w io.Writer, all []trace.Exchange) error {
		return trace.WritePcapng(w, all, s.Application)
	})(w, r)
}

// fileName is a name for the packets of a peer that no file system refuses, and no shell obeys.
func fileName(peer string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("-_.@", c) {
			return c
		}
		return '_'
	}, strings.TrimLeft(peer, ".-")) + ".pcapng"
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
		notFound(w)
	case !known:
		text(w, http.StatusBadRequest, ErrFormat.Error()+"\n")
	default:
		header := http.Header{"Content-Type": {format.MediaType}, "Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'"}}
		s.send(w, r, r.URL.Path, header, func(b io.Writer) error {
			return format.Write(b, []*report.Report{found})
		})
	}
}

// exchanges serves the kept probes of a peer in one form.
func (s *site) exchanges(mediaType string, write func(w io.Writer, all []trace.Exchange) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		all, ok := s.Peers.Exchanges(r.PathValue("name"))
		if !ok {
			w.Header().Del("Content-Disposition")
			notFound(w)
			return
		}
		s.send(w, r, r.URL.Path, http.Header{"Content-Type": {mediaType}}, func(b io.Writer) error { return write(b, all) })
	}
}
