package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metricsPage is the page of all metrics, which a test of the exporter generates.
const metricsPage = "docs/metrics.md"

// documents returns the Markdown pages by their path below the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/runbooks/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			pages[filepath.ToSlash(name)] = string(b)
		}
	}
	for _, name := range []string{"README.md", metricsPage} {
		if pages[name] == "" {
			t.Fatalf("%s is missing or empty", name)
		}
	}
	return pages
}

func TestDocumentedMetricsExist(t *testing.T) {
	pages := documents(t)
	var known []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(ipsec_path_[a-z0-9_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(pages[metricsPage], -1) {
		known = append(known, m[1])
		if m[2] == "histogram" {
			known = append(known, m[1]+"_bucket", m[1]+"_sum", m[1]+"_count")
		}
	}
	if len(known) < 20 {
		t.Fatalf("%s names only %d metrics", metricsPage, len(known))
	}
	// The first is the program itself.
	known = append(known, "ipsec_path_exporter")
	for page, text := range pages {
		for _, name := range regexp.MustCompile(`ipsec_path_[a-z0-9_]*[a-z0-9]`).FindAllString(text, -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s: there is no metric %s", page, name)
			}
		}
	}
}

// anchors returns the fragments of a page's headings, as GitHub makes them.
func anchors(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		words := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(words, " ", "-"))
	}
	return all
}

func TestDocumentsLinkToWhatExists(t *testing.T) {
	n, pages := 0, documents(t)
	for page, text := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			file, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			n++
			target := page
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), file))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
			if fragment != "" && !slices.Contains(anchors(pages[target]), fragment) {
				t.Errorf("%s links to %s: %s has no such heading", page, m[1], target)
			}
		}
	}
	if n == 0 {
		t.Error("no page links to another one")
	}
	if got := anchors("# A\n\n## What it means: `x_y`, now\n"); !slices.Equal(got, []string{"a", "what-it-means-x_y-now"}) {
		t.Errorf("anchors: %q", got)
	}
}

// TestDocumentsNameExistingTests: numbers in documents stand beside the test or benchmark that
// shows them.
func TestDocumentsNameExistingTests(t *testing.T) {
	var all strings.Builder
	goFiles(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	})
	for page, text := range documents(t) {
		for _, name := range regexp.MustCompile(`\b(Test|Benchmark)[A-Z]\w+`).FindAllString(text, -1) {
			if !strings.Contains(all.String(), "\nfunc "+name+"(") {
				t.Errorf("%s: there is no %s", page, name)
			}
		}
	}
}
