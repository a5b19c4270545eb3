package netlab_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/netlab"
)

// What would fail a test is an error for a program, and nothing of the laboratory is left.
func TestBuild(t *testing.T) {
	netlab.Need(t)
	for name, fails := range map[string]func(lab netlab.T){
		"fatal":             func(lab netlab.T) { lab.Fatalf("no %s", "luck") },
		"skip":              func(lab netlab.T) { lab.Skipf("no luck") },
		"fail":              func(lab netlab.T) { lab.FailNow() },
		"temporary files":   func(lab netlab.T) { lab.TempDir() },
		"fatal in the lab":  func(lab netlab.T) { netlab.New(lab).Do(lab, func() { lab.Fatalf("no luck") }) },
		"panic in the lab":  func(lab netlab.T) { netlab.New(lab).Do(lab, func() { panic("no luck") }) },
		"a fault not there": func(lab netlab.T) { netlab.NewProvider(lab).Heal(lab, netlab.FaultPTB) },
	} {
		t.Run(name, func(t *testing.T) {
			var order []string
			end, err := netlab.Build(func(lab netlab.T) {
				lab.Cleanup(func() { order = append(order, "first") })
				lab.Cleanup(func() { order = append(order, "second") })
				fails(lab)
				t.Error("went on")
			})
			if err == nil || end != nil {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff([]string{"second", "first"}, order); diff != "" {
				t.Errorf("cleanups (-want +got):\n%s", diff)
			}
		})
	}
}

// A laboratory of a program works until it is ended, and then is gone.
func TestBuildAndEnd(t *testing.T) {
	netlab.Need(t)
	var p *netlab.Provider
	before := spaces(t)
	end, err := netlab.Build(func(lab netlab.T) { p = netlab.NewProvider(lab) })
	if err != nil {
		t.Fatal(err)
	}
	if got := (probe{dst: p.ServerAddr(false), size: 100}).send(t, p.Client, answered); got != answered {
		t.Errorf("an echo: %s", got)
	}
	if n := len(spaces(t)) - len(before); n < 5 {
		t.Errorf("%d namespaces are open, want at least 5", n)
	}
	end()
	if left := slices.DeleteFunc(spaces(t), func(s string) bool { return slices.Contains(before, s) }); len(left) > 0 {
		t.Errorf("namespaces left: %v", left)
	}
	end() // once is enough
}

// spaces are the network namespaces that this process holds open.
func spaces(t *testing.T) (open []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "net:[") {
			open = append(open, to)
		}
	}
	return open
}

// Several providers at one client have faults of their own, and addresses of their own.
func TestProvidersOfOneClient(t *testing.T) {
	netlab.Need(t)
	client := netlab.New(t)
	whole := netlab.NewProviderAt(t, netlab.Plan{Client: client, Block: 12})
	broken := netlab.NewProviderAt(t, netlab.Plan{Client: client, Block: 13})
	old := netlab.NewProviderAt(t, netlab.Plan{Client: client, Block: 14, OnlyIPv4: true})
	broken.DropICMP(t)
	old.SetMTU(t, 1400)
	if got, want := whole.ServerAddr(false).String()+" "+broken.HopAddr(2, true).String(), "10.12.4.2 fd13:2::2"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	for _, tt := range []struct {
		p    *netlab.Provider
		v6   bool
		want string
	}{
		{whole, false, answered}, {whole, true, answered}, {broken, false, silent}, {broken, true, silent}, {old, false, "ptb 1400 from 10.14.2.2"},
	} {
		if got := (probe{dst: tt.p.ServerAddr(tt.v6), size: 1500}).send(t, client, tt.want); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.p.ServerAddr(tt.v6), got, tt.want)
		}
	}
	if devices, err := client.Netlink().LinkList(); err != nil || len(devices) != 4 || devices[1].Attrs().Name != "net1-12" {
		t.Errorf("devices %v, %v", devices, err)
	}
	if old.Reset(t); len(old.Faults()) > 0 {
		t.Errorf("faults after a reset: %v", old.Faults())
	}
}

// insideEnv is set in the copy that RunInside makes.
const insideEnv = "NETLAB_TEST_INSIDE"

// runInside is the part of TestRole that is a program: it hands a greeting over to its copy, which
// says it and may fail.
func runInside(t *testing.T, role string) {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		netlab.New(t)
		greeting, err := io.ReadAll(os.NewFile(3, "greeting"))
		fmt.Fprintf(os.Stderr, "inside: %s, %v\n", greeting, err)
		if role == "run and fail" {
			os.Exit(9)
		}
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("a greeting"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Setenv(insideEnv, "1")
	fmt.Fprintf(os.Stderr, "outside: %v\n", netlab.RunInside(t.Context(), r))
}

// A program that runs itself in namespaces gets its files there, and the end of the copy back.
func TestRunInside(t *testing.T) {
	netlab.Need(t)
	for _, tt := range []struct {
		role, inside, outside string
		forbidden             []string
	}{
		{"run inside", "inside: a greeting, <nil>\n", "outside: <nil>\n", nil},
		{"run and fail", "inside: a greeting, <nil>\n", "outside: the program in the namespaces failed: exit status 9\n", nil},
		{"run as root", "inside: a greeting, <nil>\n", "outside: <nil>\n", []string{"user"}},
		{"run and be refused", "", "outside: namespaces are refused: clone: ", []string{"user", "net", "mnt"}},
	} {
		t.Run(tt.role, func(t *testing.T) {
			forbid(t, tt.forbidden...)
			out, err := role(t, tt.role).CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte(tt.inside)) || !bytes.Contains(out, []byte(tt.outside)) {
				t.Errorf("%v, want %q and %q in:\n%s", err, tt.inside, tt.outside, out)
			}
		})
	}
}
