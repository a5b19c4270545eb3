// Pages looks at the pages of a running exporter in headless Chromium, and takes pictures of them:
//
//	go run ./tools/pages [-user NAME:PASSWORD] [-pictures DIR] URL
//
// It prints each problem, and ends with code 1 if there is one. docs/images/make.sh runs it.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"ipsec_path_exporter/tools/browser"
)

// mostBytes is the size of a picture that a repository should have at most.
const mostBytes = 200_000

// A picture is a page of the demo.
type picture struct {
	file, path string
	browser.View
}

// pictures returns the pictures of the documentation.
func pictures() []picture {
	const width, phone, scale = 1100, 390, 1.5
	return []picture{
		{"list", "", browser.View{Width: width, Height: 900}},
		{"peer", "peers/black-hole-no-icmp", browser.View{Width: width, Height: 1150}},
		{"tunnel", "peers/tunnel-oversized", browser.View{Width: width, Height: 1150, Dark: true}},
		{"report", "peers/negotiation-stuck/report?format=html", browser.View{Width: width, Height: 900}},
		{"phone", "peers/esp-blocked", browser.View{Width: phone, Height: 844, Scale: scale}},
	}
}

func main() {
	user := flag.String("user", "", "name and password for basic authentication, as NAME:PASSWORD")
	directory := flag.String("pictures", "", "directory for the pictures of the documentation; they are of the demo")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	base := strings.TrimSuffix(flag.Arg(0), "/") + "/"
	header := http.Header{}
	if *user != "" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(*user)))
	}
	if err := look(ctx, base, header, *directory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the context is of no use any more
	}
}

// look visits the site and takes the pictures.
func look(ctx context.Context, base string, header http.Header, directory string) error {
	profile, err := os.MkdirTemp("", "pages")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(profile) }()
	b, err := browser.Start(ctx, profile)
	if err != nil {
		return err
	}
	site := &browser.Site{Base: base, Header: header, Views: browser.Views(), Most: 12}
	return errors.Join(visit(ctx, b, site), takeAll(ctx, b, base, header, directory), b.Close())
}

func visit(ctx context.Context, b *browser.Browser, s *browser.Site) error {
	tour, err := b.Visit(ctx, s)
	if err != nil {
		return err
	}
	for _, p := range tour.Problems {
		fmt.Fprintln(os.Stdout, p)
	}
	fmt.Fprintf(os.Stdout, "%d pages opened in %d views, %d links requested, %d problems\n", len(tour.Pages), len(s.Views), tour.Links, len(tour.Problems))
	if len(tour.Problems) > 0 {
		return fmt.Errorf("%s: %d problems", s.Base, len(tour.Problems))
	}
	return nil
}

func takeAll(ctx context.Context, b *browser.Browser, base string, header http.Header, directory string) error {
	if directory == "" {
		return nil
	}
	page, err := b.NewPage(ctx, header)
	if err != nil {
		return err
	}
	for _, p := range pictures() {
		if err := p.take(ctx, page, base, directory); err != nil {
			return fmt.Errorf("picture %s: %w", p.file, err)
		}
	}
	return nil
}

func (p *picture) take(ctx context.Context, page *browser.Page, base, directory string) error {
	if err := page.Show(ctx, p.View); err != nil {
		return err
	}
	if err := page.Open(ctx, base+p.path); err != nil {
		return err
	}
	taken, err := page.Picture(ctx)
	if err != nil {
		return err
	}
	small, err := compress(taken)
	if err != nil {
		return err
	}
	if len(small) > mostBytes {
		return fmt.Errorf("%d bytes are more than %d", len(small), mostBytes)
	}
	return os.WriteFile(filepath.Join(directory, p.file+".png"), small, 0o644) //nolint:gosec // a picture is for everyone
}
