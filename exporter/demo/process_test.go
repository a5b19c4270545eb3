package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ordinary is the user and group that the demonstration runs as where the tests run as root: one
// without a name.
const ordinary = 61234

// roleEnv makes TestRole, in another run of this test binary, start the program in a way that takes
// a process of its own.
const roleEnv = "DEMO_TEST_ROLE"

// TestRole is what the tests run in a fresh copy of this binary. What follows the flags is the
// program with its arguments.
func TestRole(t *testing.T) {
	role := os.Getenv(roleEnv)
	if role == "" {
		t.Skip("only run by other tests, in a copy of this binary")
	}
	args := os.Args[slices.Index(os.Args, "--")+1:]
	switch role {
	case "go": // `go run`
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	case "forbidden": // a system that allows no namespaces
		for _, kind := range []string{"user", "net", "mnt"} {
			if err := os.WriteFile("/proc/sys/user/max_"+kind+"_namespaces", []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		t.Fatal(syscall.Exec(args[0], args, os.Environ()))
	}
}

// A program is the built program, in a directory of its own that an ordinary user may use.
type program struct {
	path string
	// self is this test binary, under the name of the go command.
	self string
	dir  string
}

// build builds the program.
func build(t *testing.T) program {
	t.Helper()
	dir := t.TempDir()
	p := program{path: filepath.Join(dir, "ipsec_path_exporter"), self: filepath.Join(dir, "go"), dir: dir}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, "../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.self, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Dir(dir), dir, p.path, p.self} { // else closed to other users
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// A run is one demonstration that runs.
type run struct {
	program

	cmd  *exec.Cmd
	home string
	base string
	// ended is closed when it has ended.
	ended chan struct{}
	out   text
	log   text
	// spaces are the namespaces that it has; links are the devices with a name of the
	// demo that the host had before.
	spaces []string
	links  []string
}

// A text is the file of what has been printed until now. A pipe would end, with its reader, a
// process that should have ended by itself.
type text string

func (p text) String() string {
	b, err := os.ReadFile(string(p))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// open makes the file.
func (p text) open(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(string(p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// command is the program or, with a role, a copy of this test that starts it, as an ordinary user
// with a home of its own.
func (p program) command(t *testing.T, role string, args ...string) *run {
	t.Helper()
	r := &run{program: p, home: filepath.Join(p.dir, strings.ReplaceAll(t.Name(), "/", "_"))}
	if err := os.Mkdir(r.home, 0o755); err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.CommandContext(t.Context(), p.path, args...)
	if role != "" {
		args = slices.Concat([]string{"-test.run=^TestRole$", "--", p.path}, args)
		r.cmd = exec.CommandContext(t.Context(), p.self, args...)
	}
	r.cmd.Env = append(os.Environ(), "HOME="+r.home, "TMPDIR="+r.home, "NETLAB_STATE=", roleEnv+"="+role)
	r.out, r.log = text(r.home+".out"), text(r.home+".log")
	r.cmd.Stdout, r.cmd.Stderr = r.out.open(t), r.log.open(t)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		if err := os.Chown(r.home, ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
		r.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: ordinary, Gid: ordinary}
	}
	return r
}

// port returns a free port.
func port(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// start starts a demonstration and waits until it is there.
func (p program) start(t *testing.T, role string) *run {
	t.Helper()
	address := "localhost:" + port(t)
	r := p.command(t, role, "demo", "--web.listen-address="+address)
	r.base, r.links = "http://"+address, links(t)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.ended = make(chan struct{})
	go func() {
		_ = r.cmd.Wait() // how it ended is in its state
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it has ended, unless the test failed
		<-r.ended
		for _, pid := range r.processes(t) {
			if n, err := strconv.Atoi(pid); err == nil {
				_ = unix.Kill(n, unix.SIGKILL)
			}
		}
	})
	for began := time.Now(); !strings.Contains(r.out.String(), "Ready after"); time.Sleep(10 * time.Millisecond) {
		select {
		case <-r.ended:
			skipRefused(t, r.log.String())
			t.Fatalf("it ended early:\n%s\n%s", r.out, r.log)
		default:
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("it does not start:\n%s\n%s", r.out, r.log)
		}
	}
	r.spaces = r.namespaces(t)
	return r
}

// skipRefused skips the test where this system allows no namespaces, unless that is a failure.
func skipRefused(t *testing.T, log string) {
	t.Helper()
	if strings.Contains(log, "needs namespaces") && os.Getenv("REQUIRE_NETNS") != "1" {
		t.Skipf("no namespaces: %s", log)
	}
}

// processes returns the processes of the program, by their executable.
func (r *run) processes(t *testing.T) (pids []string) {
	t.Helper()
	exes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, exe := range exes {
		if file, err := os.Readlink(exe); err != nil || file != r.path {
			continue // of another user, or ended meanwhile, or another program
		}
		env, err := os.ReadFile(filepath.Join(filepath.Dir(exe), "environ"))
		if err == nil && bytes.Contains(env, []byte("HOME="+r.home+"\x00")) {
			pids = append(pids, filepath.Base(filepath.Dir(exe)))
		}
	}
	return pids
}

// held are the namespaces that a process is in or holds open, by a name and the file that it is
// read from.
func held(pid string) map[string]string {
	spaces := make(map[string]string)
	for _, pattern := range []string{"ns/net", "ns/mnt", "ns/user", "fd/*"} {
		names, _ := filepath.Glob("/proc/" + pid + "/" + pattern) // the pattern is right
		for _, name := range names {
			if to, err := os.Readlink(name); err == nil && slices.ContainsFunc([]string{"net:[", "mnt:[", "user:["}, func(p string) bool { return strings.HasPrefix(to, p) }) {
				spaces[to] = name
			}
		}
	}
	return spaces
}

// namespaces returns the namespaces of the demo that the test does not have. It keeps each of them
// open: the kernel gives the number of one that has ended to the next one.
func (r *run) namespaces(t *testing.T) []string {
	t.Helper()
	all, ours := make(map[string]string), held("self")
	for _, pid := range r.processes(t) {
		maps.Copy(all, held(pid))
	}
	maps.DeleteFunc(all, func(space, _ string) bool { return ours[space] != "" })
	for _, name := range all {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
	// Its own three, and four for each peer: three routers and a gateway.
	if want := 3 + 4*len(peers()); len(all) != want {
		t.Errorf("%d namespaces, want %d: %v", len(all), want, slices.Sorted(maps.Keys(all)))
	}
	return slices.Collect(maps.Keys(all))
}

// links are the network devices of the host that have a name of the demo. The host may have any
// others, which come and go with its containers.
func links(t *testing.T) (all []string) {
	t.Helper()
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if linkName.MatchString(d.Name) {
			all = append(all, fmt.Sprintf("%s %d %d", d.Name, d.Index, d.MTU))
		}
	}
	return all
}

// linkName matches the devices of the demo's paths.
var linkName = regexp.MustCompile(`^net\d-\d+$`)

// leavesNothing waits for the end, and finds out whether anything is left.
func (r *run) leavesNothing(t *testing.T) {
	t.Helper()
	began := time.Now()
	for left := r.left(t); left != ""; left = r.left(t) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("left behind: %s\n%s", left, r.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimPrefix(r.base, "http://"))
	if err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		l.Close()
	}
	files, err := os.ReadDir(r.home)
	if err != nil || len(files) > 0 {
		t.Errorf("files: %v, %v", files, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	// A namespace with a name is a mount of it.
	ours := slices.ContainsFunc(append(r.spaces, r.dir, hubDir), func(s string) bool { return bytes.Contains(mounts, []byte(s)) })
	if err != nil || ours {
		t.Errorf("mounts: %v\n%s", err, mounts)
	}
	if _, err := os.Stat(hubDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", hubDir, err)
	}
	if now := links(t); !slices.Equal(now, r.links) {
		t.Errorf("network devices %q, before %q", now, r.links)
	}
}

// left is which processes there still are, or which namespaces are held by whom.
func (r *run) left(t *testing.T) string {
	t.Helper()
	if pids := r.processes(t); len(pids) > 0 {
		return "processes " + strings.Join(pids, " ")
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, proc := range procs {
		if filepath.Base(proc) == strconv.Itoa(os.Getpid()) {
			continue // the test keeps them open
		}
		spaces := held(filepath.Base(proc))
		for _, s := range r.spaces {
			if spaces[s] != "" {
				return s + " held by " + proc
			}
		}
	}
	return ""
}

// get is a page of the demonstration.
func (r *run) get(t *testing.T, path string) string {
	t.Helper()
	return r.ask(t, http.MethodGet, path)
}

func (r *run) ask(t *testing.T, method, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v\n%s", method, path, answer.Status, err, b)
	}
	return string(b)
}

// end waits for the end of a program that ends by itself, and returns its exit code.
func (r *run) end(t *testing.T) int {
	t.Helper()
	var exit *exec.ExitError
	err := r.cmd.Run()
	if refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC); refused && os.Getenv("REQUIRE_NETNS") != "1" {
		t.Skipf("no namespaces: %v", err)
	}
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}
