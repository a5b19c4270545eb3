package untrusted_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/untrusted"
)

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// TestWriter: nothing that a terminal obeys is written, and JSON stays what it was.
func TestWriter(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb\nü 東\n": "a\tb\nü 東\n", "a\x1b[2J\r\n": `a\u001b[2J\u000d` + "\n", "a\u202eb\u009b": `a\u202eb\u009b`,
		"\U000e0001x": `\udb40\udc01x`, "a\xffb": `a\ufffdb`,
	} {
		var b bytes.Buffer
		if n, err := untrusted.Writer(&b).Write([]byte(in)); n != len(in) || err != nil || b.String() != want {
			t.Errorf("%q becomes %q, want %q; %d, %v", in, &b, want, n, err)
		}
	}
	if _, err := untrusted.Writer(failing{}).Write([]byte("\x1b")); err == nil {
		t.Error("an error is lost")
	}
	var b bytes.Buffer
	const text = "a\u202e\u009b\U000e0001\u200b<&"
	var back string
	if err := json.NewEncoder(untrusted.Writer(&b)).Encode(text); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back != text || untrusted.Hidden(strings.TrimSuffix(b.String(), "\n")) {
		t.Errorf("%q becomes %q: %q, %v", text, &b, back, err)
	}
}

// TestVisible: what is hidden has a sign in its place, and line ends end no line.
func TestVisible(t *testing.T) {
	for in, want := range map[string]string{"ü 東": "ü 東", "a\nb\tc": "a b c", "a\x1b\u202e\xff\r\u2028": "a?????"} {
		if got := untrusted.Visible(in); got != want || untrusted.Hidden(got) || untrusted.Hidden(in) != (in != want) {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
