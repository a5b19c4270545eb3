package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testsOf returns the tests and fuzz targets of a package, by its folder.
func testsOf(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}

// A claim is a test that a document names beside its package.
type claim struct{ folder, name string }

// claims reads the paragraphs of the form "Tested: `package` TestA, TestB; `package` TestC" and a period.
func claims(text string) (all []claim) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		_, list, tested := strings.Cut(paragraph, "Tested: ")
		if !tested {
			continue
		}
		folder := ""
		for _, m := range regexp.MustCompile("`([a-z0-9/]+)`|\\b((?:Test|Fuzz)[A-Z]\\w+)").FindAllStringSubmatch(list, -1) {
			if m[1] != "" {
				folder = m[1]
			} else {
				all = append(all, claim{folder, m[2]})
			}
		}
	}
	return all
}

// unknown returns the claims whose package has no such test.
func unknown(t *testing.T, all []claim) (wrong []claim) {
	t.Helper()
	known := make(map[string][]string)
	for _, c := range all {
		if _, read := known[c.folder]; !read {
			known[c.folder] = testsOf(t, c.folder)
		}
		if !slices.Contains(known[c.folder], c.name) {
			wrong = append(wrong, c)
		}
	}
	return wrong
}

// TestSecurityDocument: every threat names tests, and every named test exists in its package.
func TestSecurityDocument(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(b), "\n### ")[1:]
	if len(sections) < 6 {
		t.Errorf("only %d threats", len(sections))
	}
	for _, s := range sections {
		title, text, _ := strings.Cut(s, "\n")
		if len(claims(text)) == 0 {
			t.Errorf("%s: names no test", title)
		}
		for _, c := range unknown(t, claims(text)) {
			t.Errorf("%s: package %s has no %s", title, c.folder, c.name)
		}
	}
}

// TestSecurityDocumentCanFail: a test of another package, or of none, is noticed.
func TestSecurityDocumentCanFail(t *testing.T) {
	text := "### Threat\n\nTested: `internal/policy` TestSecurityDocument,\nTestNoSuch; `internal/wire/ip` TestSecurityDocument.\n\nNot TestThis.\n"
	want := []claim{{"internal/policy", "TestNoSuch"}, {"internal/wire/ip", "TestSecurityDocument"}}
	if got := unknown(t, claims(text)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
