package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"mvdan.cc/sh/v3/syntax"
)

// foreignPrograms are programs of the system and of others. Their flags are not checked.
func foreignPrograms() []string {
	return strings.Fields(`setcap getcap dpkg systemctl sudoedit mkdir traceroute tracepath ping mtr tcpdump ip nft tc ss nc nstat sysctl top head tail
		grep getent conntrack ike-scan seq umask base64 ssh swanctl ipsec journalctl pidof`)
}

// commandLine makes the commands and flags of the program, as run does.
func commandLine() *kingpin.Application {
	app := kingpin.New("ipsec_path_exporter", "")
	promslogflag.AddFlags(app, &promslog.Config{})
	serveCommand(app)
	checkCommand(app)
	captureCommand(app)
	gatewayCommand(app)
	demoCommand(app)
	return app
}

// shell covers blocks of shell commands: each is parsed, programs and files of this repository must
// exist, and command lines of this program are collected to be run.
func (d *manual) shell(t *testing.T, b *block) bool {
	t.Helper()
	at := fmt.Sprintf("%s:%d", b.file, b.line)
	// Lines for a Cisco device have comments that begin with an exclamation mark. They are no shell.
	text := regexp.MustCompile(`(?m)^.* +! .*$`).ReplaceAllString(b.text, "")
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), at)
	if err != nil {
		t.Errorf("%s: %v", at, err)
		return true
	}
	folder := "."
	syntax.Walk(file, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.CallExpr); ok && len(call.Args) > 0 {
			if words := wordsOf(call); words[0] == "cd" {
				folder = filepath.Join(folder, words[1])
			} else if problem := d.command(folder, at, words); problem != "" {
				t.Errorf("%s: %s: %s", at, strings.Join(words, " "), problem)
			}
		}
		return true
	})
	for _, m := range regexp.MustCompile(`journalctl -u ipsec_path_exporter.* grep '([^']+)'`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(d.sources, m[1]) {
			t.Errorf("%s: no message of the program has %q", at, m[1])
		}
	}
	return true
}

// wordsOf returns the words of a command without quotes; expansions stay as they are written.
func wordsOf(call *syntax.CallExpr) (words []string) {
	for _, w := range call.Args {
		var text strings.Builder
		for _, part := range w.Parts {
			switch part := part.(type) {
			case *syntax.Lit:
				text.WriteString(part.Value)
			case *syntax.SglQuoted:
				text.WriteString(part.Value)
			default:
				var b strings.Builder
				_ = syntax.NewPrinter().Print(&b, part) // into memory
				text.WriteString(strings.Trim(b.String(), `"`))
			}
		}
		words = append(words, text.String())
	}
	if words[0] == "sudo" {
		return words[1:]
	}
	return words
}

// command returns what is wrong with a command that is run in a folder.
func (d *manual) command(folder, at string, words []string) string {
	name, args := words[0], words[1:]
	switch {
	case strings.TrimPrefix(name, "./") == "ipsec_path_exporter":
		return d.collect(at, args)
	case name == "go":
		return d.goTool(folder, at, args)
	case name == "curl":
		return d.fetched(at, args)
	case name == "docker" || name == "kubectl" || name == "cp" || name == "install":
		return d.deployed(at, name, args)
	case slices.Contains(foreignPrograms(), name):
		d.foreign[name] = true
		return ""
	}
	info, err := os.Stat(filepath.Join(folder, name))
	switch {
	case err != nil:
		return err.Error()
	case info.Mode()&0o111 == 0:
		return "is no program"
	}
	return ""
}

// collect notes a command line of the program; unknown flags and too many arguments are wrong.
func (d *manual) collect(at string, args []string) string {
	if _, err := commandLine().ParseContext(args); err != nil {
		return err.Error()
	}
	if line := strings.Join(args, "\x00"); d.runs[line] == "" {
		d.runs[line] = at
	}
	return ""
}

// goTool: the packages, the tests and the module files of a command of Go exist.
func (d *manual) goTool(folder, at string, args []string) string {
	command := args[0]
	for i, arg := range args[1:] {
		if before := args[i]; before == "-run" && !slices.ContainsFunc(testFiles(), func(text string) bool { return strings.Contains(text, "\nfunc "+arg) }) {
			return "there is no " + arg
		}
		if file, found := strings.CutPrefix(arg, "-modfile="); found {
			if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
				return err.Error()
			}
		}
		if !strings.HasPrefix(arg, ".") {
			continue
		}
		// Not by go list: the modules of tools need not be there.
		pattern := filepath.Join(folder, strings.TrimSuffix(arg, "/..."), "*.go")
		if found, err := filepath.Glob(pattern); err != nil || len(found) == 0 {
			return "there is no " + pattern
		}
		if command == "run" && arg == "." && folder == "." {
			return d.collect(at, args[i+2:])
		}
	}
	if !slices.Contains([]string{"build", "run", "test", "vet", "tool"}, command) {
		return "is no command of Go that the documents need"
	}
	return ""
}

// testFiles returns the texts of all files of tests.
var testFiles = sync.OnceValue(func() (all []string) {
	files, _ := filepath.Glob("*_test.go") // the patterns are valid
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go"} {
		more, _ := filepath.Glob(pattern)
		files = append(files, more...)
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			all = append(all, string(b))
		}
	}
	return all
})

// deployed: the files that a command reads exist. What follows the name of the image are arguments
// of the program.
func (d *manual) deployed(at, name string, args []string) string {
	for i, arg := range args {
		if arg == "ipsec_path_exporter" && name == "docker" && args[0] == "run" {
			if i == len(args)-1 {
				return d.collect(at, imageArguments())
			}
			return d.collect(at, args[i+1:])
		}
		file, packaged := strings.CutPrefix(arg, "/usr/share/ipsec_path_exporter/")
		switch {
		case packaged:
			file = "deploy/" + file
		case strings.HasPrefix(arg, "deploy/") || strings.HasPrefix(arg, "dashboards/"):
			file = arg
		case name == "kubectl" && i > 0 && args[i-1] == "-l":
			file = "deploy/kubernetes/base/statefulset.yaml"
			if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), strings.Replace(arg, "=", ": ", 1)) {
				return fmt.Sprintf("no pod of %s has the label %s (%v)", file, arg, err)
			}
		default:
			continue
		}
		if found, err := filepath.Glob(file); err != nil || len(found) == 0 {
			return file + " does not exist"
		}
	}
	return ""
}

// imageArguments returns the arguments of the program that the image has, empty without any.
func imageArguments() (args []string) {
	b, err := os.ReadFile("deploy/Dockerfile")
	if err != nil {
		return nil
	}
	if m := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindSubmatch(b); m != nil {
		_ = json.Unmarshal(m[1], &args) // nothing is left to run then, which fails
	}
	return args
}

// fetched notes the path of a URL of the exporter.
func (d *manual) fetched(at string, args []string) string {
	for _, arg := range args {
		if !strings.HasPrefix(arg, "http") {
			continue
		}
		u, err := url.Parse(arg)
		if err != nil {
			return err.Error()
		}
		p := strings.ReplaceAll(u.RequestURI(), "$p", "PEER")
		if d.paths[p] == "" {
			d.paths[p] = at
		}
		return ""
	}
	return "has no URL"
}

// runAll runs the collected command lines, and fetches the collected paths.
func (d *manual) runAll(t *testing.T) {
	t.Helper()
	if len(d.runs) < 10 || len(d.paths) < 3 {
		t.Errorf("only %d command lines and %d paths were found", len(d.runs), len(d.paths))
	}
	for _, name := range foreignPrograms() {
		if !d.foreign[name] {
			t.Errorf("no block uses %s", name)
		}
	}
	t.Run("run", func(t *testing.T) {
		for _, line := range slices.Sorted(maps.Keys(d.runs)) {
			t.Run(path.Base(d.runs[line])+" "+strings.ReplaceAll(line, "\x00", " "), func(t *testing.T) {
				t.Parallel()
				d.runDocumented(t, strings.Split(line, "\x00"))
			})
		}
	})
	d.listed(t)
	s := d.start(t, here, "--config.file="+filepath.Join(d.dir, "config.yml"))
	s.eventually(t, "it measures", func() bool {
		code, _ := fetch(t, http.DefaultClient, "http://"+s.listen+"/-/ready", "", "")
		return code == http.StatusOK
	})
	for p, at := range d.paths {
		if code, body := fetch(t, http.DefaultClient, "http://"+s.listen+p, "", ""); code != http.StatusOK {
			t.Errorf("%s: %s: %d %s", at, p, code, body)
		}
	}
}

// listed notes the paths in the table of docs/configuration.md.
func (d *manual) listed(t *testing.T) {
	t.Helper()
	const page = "docs/configuration.md"
	_, table, _ := strings.Cut(documents(t)[page], "\n## HTTP\n")
	table, _, _ = strings.Cut(table, "\n## ")
	found := regexp.MustCompile("(?m)^\\| `(/[^`]*)`(?:, `(/[^`]*)`)? \\|").FindAllStringSubmatch(table, -1)
	if len(found) < 8 {
		t.Errorf("%s lists only %d paths", page, len(found))
	}
	for _, m := range found {
		for _, p := range m[1:] {
			d.paths[strings.Replace(p, "NAME", "PEER", 1)] = page
		}
	}
	delete(d.paths, "")
}

// runDocumented runs a command line of the program, with files and addresses of the test in place
// of those of the documents.
func (d *manual) runDocumented(t *testing.T, args []string) {
	t.Helper()
	for i, arg := range args {
		for from, to := range map[string]string{
			"/etc/ipsec_path_exporter.yml": filepath.Join(d.dir, "config.yml"), "/etc/ipsec_path_exporter/config.yml": filepath.Join(d.dir, "config.yml"),
			"/etc/ipsec_path_exporter.hq-branch.key": filepath.Join(d.dir, "partner.key"),
			"203.0.113.10":                           "127.0.0.1", "--via=wan0": "--via=lo", "--via=lte0": "--via=127.0.0.1",
		} {
			arg = strings.ReplaceAll(arg, from, to)
		}
		if slices.Contains([]string{"HOST", "OUR-ADDRESS"}, arg) {
			arg = "127.0.0.1"
		}
		if strings.HasSuffix(arg, ".pcap") || strings.HasSuffix(arg, ".pcapng.gz") {
			arg = captured(t, filepath.Base(arg), 3, false)
		}
		args[i] = arg
	}
	switch {
	case slices.Contains(args, "demo"):
		t.Log("demonstration runs it with --once, and the tests of exporter/demo to its end")
	case slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--asa=") }):
		t.Log("TestProgram runs it against a device of its own")
	case slices.Contains(args, "-"):
		cmd := exec.CommandContext(t.Context(), string(d.program), args...)
		input, err := os.Open(captured(t, "input.pcap", 3, false))
		if err != nil {
			t.Fatal(err)
		}
		defer input.Close()
		cmd.Stdin = input
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != exitFault || !strings.Contains(string(out), "standard input: ") {
			t.Errorf("%v\n%s", err, out)
		}
	case slices.ContainsFunc(args, func(a string) bool {
		return slices.Contains([]string{"check", "gateway", "capture", "--config.check"}, a)
	}):
		if got := d.run(t, here, args...); got.Code == exitUnable || got.Code == exitFault && args[0] != "check" && args[0] != "capture" {
			t.Errorf("exit code %d\n%s\n%s", got.Code, got.Stdout, got.Stderr)
		}
	default:
		d.start(t, here, args...)
	}
}
