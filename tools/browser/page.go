package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// A Page is a tab of the browser.
type Page struct {
	browser *Browser
	session string

	mu       sync.Mutex
	problems []string
	loaded   chan struct{} // closed by the end of loading
}

// A View is how a page is shown.
type View struct {
	// Width and Height are the size of the screen in CSS pixels; Scale is the number of pixels of the
	// device in each of them, 0 for 1.
	Width, Height int
	Scale         float64
	Dark          bool
}

// String returns the width and the colours.
func (v View) String() string {
	if v.Dark {
		return fmt.Sprintf("%d px, dark", v.Width)
	}
	return fmt.Sprintf("%d px, light", v.Width)
}

// NewPage opens an empty page. Its requests have the header, for example Authorization.
func (b *Browser) NewPage(ctx context.Context, header http.Header) (*Page, error) {
	var target struct{ TargetID, SessionID string }
	for _, step := range []struct {
		method string
		params func() any
	}{
		{"Target.createTarget", func() any { return map[string]any{"url": "about:blank"} }},
		{"Target.attachToTarget", func() any { return map[string]any{"targetId": target.TargetID, "flatten": true} }},
	} {
		result, err := b.call(ctx, "", step.method, step.params())
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(result, &target); err != nil {
			return nil, err
		}
	}
	p := &Page{browser: b, session: target.SessionID, loaded: make(chan struct{})}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	headers := make(map[string]string)
	for name := range header {
		headers[name] = header.Get(name)
	}
	for _, step := range []struct {
		method string
		params any
	}{
		{"Page.enable", nil},
		{"Runtime.enable", nil},
		{"Log.enable", nil},
		{"Network.enable", nil},
		{"Network.setExtraHTTPHeaders", map[string]any{"headers": headers}},
	} {
		if _, err := p.call(ctx, step.method, step.params); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Page) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	return p.browser.call(ctx, p.session, method, params)
}

// event takes note of what the browser reports about the page.
func (p *Page) event(m *message) {
	var e struct {
		Type  string
		Entry struct{ Level, Text, URL string }
		Args  []struct {
			Value       any
			Description string
		}
		ExceptionDetails struct{ Text string }
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	switch m.Method {
	case "Page.loadEventFired":
		p.finish()
	case "Log.entryAdded": // failed requests and violations of the content security policy, too
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.note(fmt.Sprintf("console: %s %s", e.Entry.Text, e.Entry.URL))
		}
	case "Runtime.exceptionThrown":
		p.note("exception: " + e.ExceptionDetails.Text)
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			p.note(fmt.Sprintf("console.%s: %v", e.Type, e.Args))
		}
	}
}

func (p *Page) note(problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, strings.TrimSpace(problem))
}

// finish ends the wait for the page.
func (p *Page) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.loaded:
	default:
		close(p.loaded)
	}
}

// Open loads a page and waits until it is loaded. The page does not load itself again.
func (p *Page) Open(ctx context.Context, url string) error {
	loaded := make(chan struct{})
	p.mu.Lock()
	p.problems, p.loaded = nil, loaded
	p.mu.Unlock()
	result, err := p.call(ctx, "Page.navigate", map[string]any{"url": url})
	if err != nil {
		return err
	}
	var answer struct{ ErrorText string }
	if err := json.Unmarshal(result, &answer); err != nil || answer.ErrorText != "" {
		return errors.Join(err, fmt.Errorf("%s: %s", url, answer.ErrorText))
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", url, ctx.Err())
	case <-loaded:
	}
	var nothing any
	return p.Evaluate(ctx, "window.stop(), null", &nothing)
}

// Show sets the screen and the colours that the user prefers.
func (p *Page) Show(ctx context.Context, v View) error {
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	_, err := p.call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": v.Width, "height": v.Height, "deviceScaleFactor": max(v.Scale, 1), "mobile": v.Width < 600,
	})
	if err != nil {
		return err
	}
	_, err = p.call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	return err
}

// Evaluate runs an expression in the page and decodes its value into result.
func (p *Page) Evaluate(ctx context.Context, expression string, result any) error {
	answer, err := p.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})
	if err != nil {
		return err
	}
	var value struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(answer, &value); err != nil {
		return err
	}
	if e := value.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluate: %s %s", e.Text, e.Exception.Description)
	}
	return json.Unmarshal(value.Result.Value, result)
}

// Picture returns the top of the page as PNG, as high as the view.
func (p *Page) Picture(ctx context.Context) ([]byte, error) {
	answer, err := p.call(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "optimizeForSpeed": false})
	if err != nil {
		return nil, err
	}
	var picture struct{ Data []byte }
	err = json.Unmarshal(answer, &picture)
	return picture.Data, err
}

//go:embed inspect.js
var inspection string

// An Inspection is what a page looks like in a view.
type Inspection struct {
	// Problems are parts wider than the screen and texts with little contrast.
	Problems []string
	// Links are the addresses that the page refers to, absolute.
	Links []string
}

// Inspect looks at the open page in a view. Problems of loading are among the first ones.
func (p *Page) Inspect(ctx context.Context, v View) (*Inspection, error) {
	if err := p.Show(ctx, v); err != nil {
		return nil, err
	}
	var found Inspection
	if err := p.Evaluate(ctx, inspection, &found); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found.Problems = append(p.problems, found.Problems...)
	p.problems = nil
	return &found, nil
}
