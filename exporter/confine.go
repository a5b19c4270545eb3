package exporter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/libreswan"
	"ipsec_path_exporter/collectors/gateways/openiked"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/sandbox"
)

// A namedFile is a file or directory that a configuration names, with its place there.
type namedFile struct {
	place, path string
	program     bool
}

// namedFiles returns the files that a configuration names. The files of flags do not change and are
// not among them.
func namedFiles(cfg *config.Config) []namedFile {
	var all []namedFile
	for _, pattern := range cfg.PeerFiles {
		all = append(all, namedFile{place: "peer_files", path: filepath.Dir(pattern)})
	}
	for i := range cfg.Peers {
		p := &cfg.Peers[i]
		for _, f := range []namedFile{{place: "key_file", path: p.Partner.KeyFile}, {place: "key_file_next", path: p.Partner.NextKeyFile}} {
			if f.path != "" {
				all = append(all, namedFile{place: fmt.Sprintf("peers (%q): partner.%s", p.Name, f.place), path: f.path})
			}
		}
	}
	for i := range cfg.Gateways {
		g := &cfg.Gateways[i]
		place := fmt.Sprintf("gateways (%q): ", g.Name)
		for _, f := range g.Cisco.Files() {
			all = append(all, namedFile{place: place + f.Key, path: f.Path})
		}
		if g.Program != "" {
			all = append(all, namedFile{place: place + "program", path: g.Program, program: true})
		}
	}
	return all
}

// confine takes from the program the rights that it does not need after the start. The sockets are
// open by now, and the files that it may use are those of the configuration and of the system.
func (r *reloader) confine(cfg *config.Config) {
	if !r.options.Sandbox {
		return
	}
	rules := r.options.rules(cfg)
	out, err := sandbox.Enter(rules)
	switch {
	case errors.Is(err, sandbox.ErrUnsupported):
		r.log.Info("running without a sandbox", "err", err)
	case err != nil:
		r.log.Warn("running without a complete sandbox", "err", err)
	case out.Landlock == 0:
		r.log.Info("running without limits on files: no Landlock in this kernel, or forbidden by a filter of system calls", "capabilities", out.Kept)
	}
	r.log.Debug("sandbox entered", "capabilities", out.Kept, "dropped", out.Dropped, "bounding_set", out.Bounded,
		"landlock", out.Landlock, "read", rules.Read, "write", rules.Write, "run", rules.Run)
	if err == nil && out.Landlock > 0 {
		r.rules, r.named = &rules, make(map[string]bool)
		for _, f := range namedFiles(cfg) {
			r.named[f.path] = true
		}
	}
}

// errOutside is the error of a file that only a restart makes usable.
var errOutside = errors.New("is outside of what the program may use since its start (restart it, or put the file next to the configuration)")

// reachable reports which files of a configuration the program may not use since its start.
func (r *reloader) reachable(cfg *config.Config) error {
	if r.rules == nil {
		return nil
	}
	var problems []error
	for _, f := range namedFiles(cfg) {
		if r.named[f.path] {
			continue // it may not exist: that is no reason to refuse what else has changed
		}
		if f.program && !r.rules.CoversProgram(f.path) || !f.program && !r.rules.Covers(f.path) {
			problems = append(problems, fmt.Errorf("%s: %s %w", f.place, f.path, errOutside))
		}
	}
	return errors.Join(problems...)
}

// rules returns the files that the program uses after the start: those that the flags and the
// configuration name, with everything in their directories, because a reload may find new files
// there; and those of the system.
func (o *ServeOptions) rules(cfg *config.Config) sandbox.Rules {
	rules := systemRules()
	add := func(path string) { rules.Read = append(rules.Read, directories(path)...) }
	for _, path := range append(o.webFiles(), o.ConfigFile) {
		if path != "" {
			add(path)
		}
	}
	for _, f := range namedFiles(cfg) {
		switch {
		case f.program:
			rules.Run = append(rules.Run, f.path)
			if found, script, err := gateways.FindProgram(f.path); err == nil {
				rules.Run = append(rules.Run, found)
				add(found)
				if script { // it runs other programs
					rules.Run = append(rules.Run, "/bin", "/sbin", "/usr", filepath.Dir(found))
				}
			}
		case f.place == "peer_files":
			add(filepath.Join(f.path, "any"))
		default:
			add(f.path)
		}
	}
	if o.StoragePath != "" {
		rules.Write = append(rules.Write, absolute(o.StoragePath))
	}
	for _, list := range []*[]string{&rules.Read, &rules.Write, &rules.Run} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return rules
}

// directories returns the directory of a file, and that of the file which a symbolic link leads to.
func directories(path string) (all []string) {
	path = absolute(path)
	dir := filepath.Dir(path)
	if there := existing(dir); there == dir || there != "/" { // else a missing directory would allow everything
		all = append(all, there)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		all = append(all, filepath.Dir(target))
	}
	return all
}

// existing returns the directory, or the closest one above it that exists: files may be made later.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// absolute returns a path from the root. Without a working directory, the path is returned as it is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// systemRules returns the files of the system that the program or the Go runtime may need: settings
// of the resolver and other files of /etc, certificates, time zones, the kernel's tables, and the
// programs that control IKE daemons, with the loader and the libraries that run them.
func systemRules() sandbox.Rules {
	rules := sandbox.Rules{
		Read: []string{
			"/etc", "/proc", "/usr", "/lib", "/lib64", "/nix/store", "/dev/null", "/dev/urandom",
			"/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman", "/run/netconfig",
			"/var/lib/ca-certificates", "/sys/kernel/mm/transparent_hugepage",
		},
		Write: []string{"/dev/null"},
	}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/localtime", os.Getenv("SSL_CERT_FILE")} {
		if file != "" {
			rules.Read = append(rules.Read, directories(file)...)
		}
	}
	rules.Read = append(rules.Read, filepath.SplitList(os.Getenv("SSL_CERT_DIR"))...)
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" { // of systemd: a reload may name one more
		rules.Read = append(rules.Read, dir)
	}
	rules.Run = slices.Concat(libreswan.Programs(), openiked.Programs())
	for _, loader := range []string{"/lib/ld-*", "/lib64/ld-*", "/lib/*/ld-*", "/usr/lib/*/ld-*"} {
		found, _ := filepath.Glob(loader) // the pattern is valid
		rules.Run = append(rules.Run, found...)
	}
	return rules
}

// webFiles returns the file of --web.config.file and the files that it names, which are read again for
// each connection. What is wrong with it was reported before.
func (o *ServeOptions) webFiles() []string {
	if o.Web == nil || o.Web.WebConfigFile == nil || *o.Web.WebConfigFile == "" {
		return nil
	}
	file := *o.Web.WebConfigFile
	all := []string{file}
	var web struct {
		TLS struct {
			Cert     string `yaml:"cert_file"`
			Key      string `yaml:"key_file"`
			ClientCA string `yaml:"client_ca_file"`
		} `yaml:"tls_server_config"`
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, &web)
	}
	if err != nil {
		return all
	}
	for _, path := range []string{web.TLS.Cert, web.TLS.Key, web.TLS.ClientCA} {
		if path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		all = append(all, path)
	}
	return all
}
