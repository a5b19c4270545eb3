// Command gen writes the Grafana boards of ipsec_path_exporter, one JSON file each, in the classic format that Grafana 10 and newer
// load. It is a module of its own, so that the exporter does not carry Grafana's SDK. Each board has a file here: fleet.go, peer.go,
// evidence.go, tunnels.go, exporter.go. What they are made of: panels.go (a function per kind of panel), query.go (selectors and
// what recurs in PromQL), words.go (states as words and colours), board.go (variables, links, annotations, layout).
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// usualPages is where the browser finds an exporter's own pages, unless told otherwise: at the address that Prometheus scrapes.
const usualPages = "http://INSTANCE"

func main() {
	out := flag.String("out", "..", "directory to write the boards to")
	pages := flag.String("exporter", usualPages, "URL of an exporter's own pages, for links to them; INSTANCE stands for the label instance")
	flag.Parse()
	if err := write(*out, strings.TrimSuffix(*pages, "/")); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// write puts all boards into a directory.
func write(dir, pages string) error {
	for _, b := range boards(pages) {
		text, err := b.render()
		if err != nil {
			return fmt.Errorf("board %s: %w", b.uid, err)
		}
		if err := os.WriteFile(filepath.Join(dir, b.file()), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// boards are all of them. pages is the URL of an exporter's pages, as in the flag.
func boards(pages string) []board {
	links := exporterPages(pages)
	return []board{fleetBoard(links), peerBoard(links), evidenceBoard(links), tunnelsBoard(), exporterBoard()}
}

// render gives the board's JSON as it is kept in a file.
func (b board) render() ([]byte, error) {
	d, err := b.build()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // PromQL is full of < and >
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}
