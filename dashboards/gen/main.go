// Command gen writes the Grafana boards of ipsec_path_exporter as JSON, in the classic format of
// Grafana 10 and newer. It is a separate module, so that the exporter does not depend on Grafana's
// SDK. Each board has a file: fleet.go, peer.go, evidence.go, tunnels.go, exporter.go. They use
// panels.go (a function per kind of panel), query.go (selectors and common PromQL), words.go (texts
// and colours of states) and board.go (links and layout).
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

// usualPages is the default URL of an exporter's pages: the address that Prometheus scrapes.
const usualPages = "http://INSTANCE"

func main() {
	out := flag.String("out", "..", "directory to write the boards to")
	pages := flag.String("exporter", usualPages, "URL of the exporter's pages, for links; INSTANCE stands for the label instance")
	flag.Parse()
	if err := write(*out, strings.TrimSuffix(*pages, "/")); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(dir, pages string) error {
	for _, b := range boards(pages) {
		text, err := b.render()
		if err != nil {
			return fmt.Errorf("board %s: %w", b.uid, err)
		}
		if err := os.WriteFile(filepath.Join(dir, b.file()), text, 0o644); err != nil { //nolint:gosec // Grafana reads the files
			return err
		}
	}
	return nil
}

// boards returns all boards. pages is the URL of the exporter's pages, as in the flag.
func boards(pages string) []board {
	links := exporterPages(pages)
	return []board{fleetBoard(links), peerBoard(links), evidenceBoard(links), tunnelsBoard(), exporterBoard()}
}

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
