package ciscoasa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"ipsec_path_exporter/internal/devicelogin"
)

// httpsTransport runs commands over the interface that ASDM uses: GET /admin/exec/COMMAND. It has
// no pager and no prompt.
type httpsTransport struct {
	config *Config
	vault  *vault

	mu     sync.Mutex
	client *http.Client
	cancel context.CancelFunc // of what runs
}

func (t *httpsTransport) run(ctx context.Context, command string) (string, error) {
	s, err := t.vault.open()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := t.begin(cancel)
	if err != nil {
		return "", err
	}
	// A command is one segment of the path, escaped; "/" would join two.
	target := url.URL{Scheme: "https", Host: hostPort(t.config.Address, "443"), Path: "/admin/exec/" + command}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(t.config.Username, s.password)
	req.Header.Set("User-Agent", "ASDM/ (ipsec_path_exporter)") // It answers to ASDM only.
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxOutput+1))
	if err != nil {
		return "", fmt.Errorf("reading the answer to %q: %w", command, err)
	}
	return t.judge(resp, string(body), command, s)
}

// begin returns the client, made at first use, and registers what close cancels.
func (t *httpsTransport) begin(cancel context.CancelFunc) (*http.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel = cancel
	if t.client != nil {
		return t.client, nil
	}
	settings, err := devicelogin.TLS{
		CAFile: t.config.CAFile, Insecure: t.config.Insecure, Legacy: t.config.LegacyAlgorithms,
	}.Config()
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	t.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: settings, MaxConnsPerHost: 1},
		// Credentials belong to this device and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return t.client, nil
}

func (t *httpsTransport) judge(resp *http.Response, body, command string, s secrets) (string, error) {
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		return "", t.vault.refuse(s, "user name or password is wrong, or the account is locked")
	case code == http.StatusForbidden:
		return "", t.vault.refuse(s, "the account may not run commands by https")
	case code == http.StatusBadRequest || code == http.StatusNotFound:
		return "", fmt.Errorf("%w: %s: HTTP status %d", errRefused, command, code)
	case code != http.StatusOK:
		return "", fmt.Errorf("HTTP status %d to %q (check that the HTTP server of the device is enabled for this address)", code, command)
	case len(body) > maxOutput:
		return "", fmt.Errorf("the device answers with more than %d MiB", maxOutput>>20)
	case strings.HasPrefix(strings.TrimSpace(body), "<") && !strings.HasPrefix(strings.TrimSpace(body), "<---"):
		return "", errors.New("the device answers with a web page, not with the output of a command (check that this is the port of ASDM)")
	}
	t.vault.accept(s)
	return body, nil
}

func (t *httpsTransport) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		t.cancel()
	}
	if t.client != nil {
		t.client.CloseIdleConnections()
	}
	return nil
}
