package mtls_test

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"

	"github.com/prosa-chat/prosa/services/internal/mtls"
	"github.com/prosa-chat/prosa/services/internal/mtls/mtlstest"
)

// shake has two sides shake hands, and returns what each shows the other.
func shake(t *testing.T, server, client credentials.TransportCredentials) (shown *x509.Certificate, serverErr, clientErr error) {
	t.Helper()
	near, far := net.Pipe()
	defer func() { require.NoError(t, near.Close()) }()
	ended := make(chan error, 1)
	go func() {
		conn, info, err := server.ServerHandshake(far)
		if err == nil {
			_, err = conn.Write([]byte{1}) // the client's certificate is judged with its first read
			if err == nil && !mtls.Verified(info) {
				err = net.ErrClosed
			}
		}
		_ = far.Close() // the other side may be gone
		ended <- err
	}()
	conn, info, err := client.ClientHandshake(context.WithoutCancel(t.Context()), "prosa", near)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		shown = info.(credentials.TLSInfo).State.PeerCertificates[0]
	}
	_ = near.Close()
	return shown, <-ended, err
}

func TestReplacedFilesCountFromTheNextConnectionOn(t *testing.T) {
	old, next := mtlstest.NewAuthority(t), mtlstest.NewAuthority(t)
	serverDir, clientDir := t.TempDir(), t.TempDir()
	server, err := old.IssueTo(t, serverDir, "prosa").Server()
	require.NoError(t, err)
	client, err := old.IssueTo(t, clientDir, "prosa").Client("")
	require.NoError(t, err)
	works := func() *x509.Certificate {
		t.Helper()
		shown, serverErr, clientErr := shake(t, server, client.Clone())
		require.NoError(t, serverErr)
		require.NoError(t, clientErr)
		return shown
	}
	first := works()
	require.Equal(t, first.SerialNumber, works().SerialNumber)

	// A new certificate of the same authority.
	old.IssueTo(t, serverDir, "prosa")
	second := works()
	require.NotEqual(t, first.SerialNumber, second.SerialNumber)

	// A new authority: first both sides believe both, then each shows what the new one issued, and last nobody believes the old one.
	next.Trust(old)
	next.IssueTo(t, clientDir, "prosa")
	_, _, err = shake(t, server, client)
	require.Error(t, err, "the server does not know the new authority yet")
	next.IssueTo(t, serverDir, "prosa")
	third := works()
	require.NotEqual(t, second.SerialNumber, third.SerialNumber)
}

func TestFilesThatCannotBeUsedYetChangeNothing(t *testing.T) {
	authority := mtlstest.NewAuthority(t)
	dir := t.TempDir()
	files := authority.IssueTo(t, dir, "prosa")
	server, err := files.Server()
	require.NoError(t, err)
	client, err := authority.Issue(t, "prosa").Client("prosa")
	require.NoError(t, err)
	for name, spoil := range map[string]func() error{
		"half of a certificate": func() error { return os.WriteFile(files.Cert, []byte("-----BEGIN CERT"), 0o600) },
		"no key":                func() error { return os.Remove(files.Key) },
		"no authority":          func() error { return os.WriteFile(files.CA, nil, 0o600) },
	} {
		require.NoError(t, spoil(), name)
		_, serverErr, clientErr := shake(t, server, client)
		require.NoError(t, serverErr, name)
		require.NoError(t, clientErr, name)
	}
	authority.IssueTo(t, dir, "prosa")
	_, serverErr, clientErr := shake(t, server, client)
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)
}
