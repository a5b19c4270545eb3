package web

import (
	_ "embed"
	"errors"
	"html/template"
	"io"
	"net/http"
	"time"
)

// Detail is what the page of one peer shows. What is unknown is empty.
type Detail struct {
	Peer
	// Labels are those configured, as text.
	Labels string
	// Results are what was found, a label and a text each.
	Results []Line
	// Hops are the routers on the way.
	Hops []string
	// Before says how the path was when it was well; Changes are the changes of verdicts, the newest first.
	Before  []string
	Changes []Change
	// Exchanges are probes and what came of them, the newest first.
	Exchanges []Exchange
}

// Line is a text with a label.
type Line struct{ Label, Text string }

// Change is a diagnosis that began or ended.
type Change struct {
	At                 time.Time
	On                 bool
	Diagnosis, Summary string
}

// Exchange is one probe and what came of it.
type Exchange struct {
	At           time.Time
	What, Result string
	Fault        bool
}

// Dossiers are what is known about the peers.
type Dossiers interface {
	// Known tells whether there is a peer of that name.
	Known(name string) bool
	// Detail is for the page of a peer; false if there is none of that name.
	Detail(name string) (Detail, bool)
	// Report writes a peer's report in a form: text, markdown or json. It returns ErrForm for any other.
	Report(w io.Writer, name, form string) error
	// Pcap writes the packets to and from a peer, Exchanges the same as JSON.
	Pcap(w io.Writer, name string) error
	Exchanges(w io.Writer, name string) error
}

// ErrForm means that there is no such form of a report.
var ErrForm = errors.New("there is ?format=text, markdown and json")

//go:embed peer.html
var peerPage string

// peerPages serves the pages of peers below a root that ends in a slash.
func peerPages(mux *http.ServeMux, root string, cfg *Config) error {
	page, err := template.New("peer").Funcs(template.FuncMap{"since": since, "clock": clock}).Parse(peerPage)
	if err != nil {
		return err
	}
	at := root + "peers/{name}"
	known := func(serve func(w http.ResponseWriter, r *http.Request, name string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("name")
			if !cfg.Dossiers.Known(name) {
				text(w, http.StatusNotFound, "no peer of this name is measured\n")
				return
			}
			serve(w, r, name)
		}
	}
	mux.HandleFunc("GET "+at, known(func(w http.ResponseWriter, _ *http.Request, name string) {
		d, _ := cfg.Dossiers.Detail(name)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := page.Execute(w, d); err != nil {
			cfg.Log.Debug("the page of a peer could not be written", "peer", name, "err", err)
		}
	}))
	mux.HandleFunc("GET "+at+"/report", known(cfg.report))
	mux.HandleFunc("GET "+at+"/pcap", known(func(w http.ResponseWriter, _ *http.Request, name string) {
		w.Header().Set("Content-Type", "application/x-pcapng")
		w.Header().Set("Content-Disposition", `attachment; filename="ipsec_path.pcapng"`)
		cfg.written(name, cfg.Dossiers.Pcap(w, name))
	}))
	mux.HandleFunc("GET "+at+"/evidence", known(func(w http.ResponseWriter, _ *http.Request, name string) {
		w.Header().Set("Content-Type", "application/json")
		cfg.written(name, cfg.Dossiers.Exchanges(w, name))
	}))
	return nil
}

// report writes a peer's report in the form that was asked for.
func (cfg *Config) report(w http.ResponseWriter, r *http.Request, name string) {
	form := r.URL.Query().Get("format")
	if form == "" {
		form = "text"
	}
	types := map[string]string{"text": "text/plain; charset=utf-8", "markdown": "text/markdown; charset=utf-8", "json": "application/json"}
	if types[form] == "" {
		text(w, http.StatusBadRequest, ErrForm.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", types[form])
	cfg.written(name, cfg.Dossiers.Report(w, name, form))
}

// written logs that somebody did not get all of what was written.
func (cfg *Config) written(name string, err error) {
	if err != nil {
		cfg.Log.Debug("a page about a peer could not be written", "peer", name, "err", err)
	}
}

// clock is a time as pages show it.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
