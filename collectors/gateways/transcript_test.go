package gateways

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTranscript(t *testing.T) {
	want := Transcript{Type: "cisco_asa", Exchanges: []Exchange{
		{Request: "show version", Response: "Version 9\n\n  # not a comment\n> not a request\n"},
		{Request: "show fragment", Error: "command refused"},
		{Request: "show nothing"},
	}}
	var b strings.Builder
	if _, err := want.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTranscript(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, wantErr := range map[string]string{
		"":                               "a transcript starts with",
		"hello\n":                        "line 1: a transcript starts with",
		transcriptHeader + "x\n| answer": `line 2: "| " comes before any request`,
		transcriptHeader + "x\n> a\nb\n": `line 3: unknown mark "b "`,
	} {
		if _, err := ReadTranscript(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%q: error %v, want %q", text, err, wantErr)
		}
	}
}

func TestRedactor(t *testing.T) {
	r := NewRedactor([]string{"s3cret", "s3cret-longer", ""}, []string{"outside"})
	r.Name("Hauptsitz")
	r.Name("outside")
	r.Name("10.0.0.7")
	for _, c := range []struct{ in, want string }{
		{"peer 10.0.0.7/500 and 10.0.0.8, again 10.0.0.7", "peer 198.18.0.1/500 and 198.18.0.2, again 198.18.0.1"},
		{"255.255.255.0 0.0.0.0 255.255.255.255 127.0.0.1", "255.255.255.0 0.0.0.0 255.255.255.255 127.0.0.1"},
		{"2001:DB8:F00::1/500 fe80::1", "2001:db8::1/500 2001:db8::2"},
		{"198.18.0.1", "198.18.0.1"}, // Given out before.
		{"Hauptsitz, not Hauptsitz2, on outside", "name-1, not Hauptsitz2, on outside"},
		{"by s3cret-longer and s3cret", "by secret and secret"},
		{"spi 0x1B2C3D4E (455884110) 1B2C3D4E", "spi 0xabc00001 (455884110) abc00001"},
		{"key 0123456789abcdef0123456789abcdef", "key 000000000000000000000000abc00002"},
		{"0x00000000 0xFFFFFFFF", "0x00000000 0xFFFFFFFF"},
		{"Anti replay: 12345678901", "Anti replay: 12345678901"},
		{"0011.2233.4455 00:11:22:33:44:55", "0000.5e00.5301 0000.5e00.5301"},
		{"ann@example.org at hub.example.org", "host-3.example.net at host-4.example.net"},
		{"AM_TM_INIT_XAUTH_V6C MM_WAIT_MSG2", "AM_TM_INIT_XAUTH_V6C MM_WAIT_MSG2"},
		{"02:03:37 CET, 0h:06m:40s", "02:03:37 CET, 0h:06m:40s"},
		{"ESP: 10.256.0.1", "ESP: 10.256.0.1"},
	} {
		if got := r.Text(c.in); got != c.want {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzReadTranscript(f *testing.F) {
	f.Add(transcriptHeader + "cisco_asa\n> show version\n| 9\n! refused\n")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ReadTranscript(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		if _, err := a.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTranscript(strings.NewReader(b.String())); err != nil {
			t.Errorf("what was written is not read: %v\n%s", err, &b)
		}
	})
}

func FuzzRedactor(f *testing.F) {
	f.Add("peer 10.0.0.7/500 s3cret 2001:db8::1 0x1B2C3D4E ann@example.org", "Hauptsitz")
	f.Fuzz(func(t *testing.T, text, name string) {
		r := NewRedactor([]string{"s3cret"}, nil)
		r.Name(name)
		if got := r.Text(text); strings.Contains(got, "s3cret") && !strings.Contains(name, "s3cret") {
			t.Errorf("%q became %q", text, got)
		}
	})
}
