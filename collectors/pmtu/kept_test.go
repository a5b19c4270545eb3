package pmtu

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeptResultIsWhole: no part of a result is lost while it is kept.
func TestKeptResultIsWhole(t *testing.T) {
	empty, err := json.Marshal(Result{})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(empty, &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		set := false
		for _, value := range []string{`"192.0.2.1"`, `"2026-01-02T03:04:05Z"`, `"text"`, `true`, `3`, `[1]`, `[1, 2, 3, 4]`} {
			var r Result
			if json.Unmarshal([]byte(`{"`+name+`": `+value+`}`), &r) != nil || cmp.Equal(r, Result{}, addresses) {
				continue
			}
			set = true
			k := keep(&r)
			if d := cmp.Diff(r, k.result(), addresses); d != "" {
				t.Errorf("%s is lost (-want +got):\n%s", name, d)
			}
		}
		if !set {
			t.Errorf("no value of %s is tried", name)
		}
	}
}

var addresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
