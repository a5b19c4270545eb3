package capture_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/schematest"
)

// schema is that of the JSON of all reports of these tests.
var schema = schematest.Open("capture")

// hold holds the JSON of a report to the schema.
func hold(tb testing.TB, r *capture.Report) {
	tb.Helper()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		tb.Fatal(err)
	}
	schema.Check(tb, "report", b.Bytes())
}

// TestMain fails where the schema names something that no report of all tests has. Some of the tests
// alone do not have everything.
func TestMain(m *testing.M) {
	code := m.Run()
	some := false
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "test.run", "test.skip", "test.list", "test.fuzz", "test.short":
			some = some || f.Value.String() != "" && f.Value.String() != "false"
		}
	})
	if code == 0 && !some && schema.ReportUnused(os.Stderr) {
		code = 1
	}
	os.Exit(code)
}
