package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// reloading shakes hands with what the files hold at that moment. Files that cannot be used, as when one of them is replaced and the
// other not yet, leave it with what they held before.
type reloading struct {
	files  Files
	config func(tls.Certificate, *x509.CertPool) *tls.Config

	mu      sync.Mutex
	seen    [3]stamp
	current credentials.TransportCredentials
}

// stamp tells two contents of a file apart. A replaced file is another one, even of the same size in the same moment.
type stamp struct {
	file os.FileInfo
	time time.Time
	size int64
}

func (s stamp) equal(other stamp) bool {
	return s.time.Equal(other.time) && s.size == other.size && s.file != nil && other.file != nil && os.SameFile(s.file, other.file)
}

// reload fails when the files cannot be used now.
func (f Files) reload(config func(tls.Certificate, *x509.CertPool) *tls.Config) (credentials.TransportCredentials, error) {
	r := &reloading{files: f, config: config}
	if err := r.load(); err != nil {
		return nil, err
	}
	return r, nil
}

// load reads the files. They are looked at before they are read, so that a change in between is seen the next time.
func (r *reloading) load() error {
	seen, err := r.look()
	if err != nil {
		return err
	}
	certificate, authorities, err := r.files.load()
	if err != nil {
		return err
	}
	r.seen, r.current = seen, credentials.NewTLS(r.config(certificate, authorities))
	return nil
}

func (r *reloading) look() (seen [3]stamp, err error) {
	for i, path := range [...]string{r.files.Cert, r.files.Key, r.files.CA} {
		info, err := os.Stat(path)
		if err != nil {
			return seen, fmt.Errorf("look at TLS files: %w", err)
		}
		seen[i] = stamp{info, info.ModTime(), info.Size()}
	}
	return seen, nil
}

// now is what the next handshake goes by.
func (r *reloading) now() credentials.TransportCredentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen, err := r.look(); err == nil {
		for i := range seen {
			if !seen[i].equal(r.seen[i]) {
				_ = r.load() // what cannot be used yet is tried again at the next handshake
				break
			}
		}
	}
	return r.current
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *reloading) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.now().ClientHandshake(ctx, authority, raw)
}

// ServerHandshake implements credentials.TransportCredentials.
func (r *reloading) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.now().ServerHandshake(raw)
}

// Info implements credentials.TransportCredentials.
func (r *reloading) Info() credentials.ProtocolInfo { return r.now().Info() }

// Clone implements credentials.TransportCredentials.
func (r *reloading) Clone() credentials.TransportCredentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &reloading{files: r.files, config: r.config, seen: r.seen, current: r.current}
}

// OverrideServerName implements credentials.TransportCredentials. The name is the caller's to give to Client.
func (r *reloading) OverrideServerName(string) error { return nil }
