package untrusted_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"ipsec_path_exporter/internal/untrusted"
)

func word(s string) string { return untrusted.Word(s, 10) }

func clip(s string) string { return untrusted.Clip(s, 10) }

func TestFunctions(t *testing.T) {
	for name, tt := range map[string]struct {
		clean    func(string) string
		in, want string
	}{
		"printable":               {untrusted.Printable, "MM_ACTIVE ü", "MM_ACTIVE ü"},
		"printable, escape":       {untrusted.Printable, "a\x1b[31m\r\nb", "a?[31m??b"},
		"printable, not UTF-8":    {untrusted.Printable, "a\xffb", "a?b"},
		"word":                    {word, "  ACTIVE\r\n", "ACTIVE"},
		"word, long":              {word, "123456789012", "1234567890"},
		"word, cut before a rune": {word, "123456789ü", "123456789"},
		"line":                    {untrusted.Line, " a\n`b`\tc\x00\x1b ", "a 'b' c"},
		"clip":                    {clip, "a\nb\x7f", "a b "},
		"clip, long":              {clip, "123456789012", "1234567890"},
		"clip, cut before a rune": {clip, "123456789ü", "123456789"},
		"clip, not UTF-8":         {clip, "a\xffb", "ab"},
	} {
		if got := tt.clean(tt.in); got != tt.want {
			t.Errorf("%s: %q becomes %q, want %q", name, tt.in, got, tt.want)
		}
	}
}

func FuzzAll(f *testing.F) {
	f.Add("state\x1b[2J\xff\u2028`")
	f.Fuzz(func(t *testing.T, s string) {
		unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
		for name, got := range map[string]string{"Printable": untrusted.Printable(s), "Word": word(s), "Line": untrusted.Line(s)} {
			if strings.ContainsFunc(got, unprintable) {
				t.Errorf("%s: %q is not printable", name, got)
			}
		}
		for name, got := range map[string]string{"Word": word(s), "Clip": clip(s)} {
			if !utf8.ValidString(got) || len(got) > 10 || strings.ContainsFunc(got, unicode.IsControl) {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}
