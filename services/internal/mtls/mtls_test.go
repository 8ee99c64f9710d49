package mtls_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"

	"github.com/prosa-chat/prosa/services/internal/mtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The handshakes themselves, with right, missing and foreign certificates, are tested where they decide something: in grpcserver.

func TestAllFilesOrNone(t *testing.T) {
	for _, test := range []struct {
		files mtls.Files
		set   bool
		fails bool
	}{
		{mtls.Files{}, false, false},
		{mtls.Files{Cert: "c", Key: "k", CA: "a"}, true, false},
		{mtls.Files{Cert: "c", Key: "k"}, false, true},
		{mtls.Files{CA: "a"}, false, true},
	} {
		require.Equal(t, test.set, test.files.Set(), test.files)
		require.Equal(t, test.fails, test.files.Check() != nil, test.files)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	missing := mtls.Files{Cert: "/nowhere/cert.pem", Key: "/nowhere/key.pem", CA: "/nowhere/ca.pem"}
	_, err := missing.Server()
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = missing.Client("")
	require.ErrorIs(t, err, os.ErrNotExist)

	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = mtls.Files{Cert: empty, Key: empty, CA: empty}.Server()
	require.ErrorContains(t, err, "load TLS certificate")
}

func TestVerifiedWantsAChain(t *testing.T) {
	require.False(t, mtls.Verified(nil))
	require.False(t, mtls.Verified(credentials.TLSInfo{}))
	require.True(t, mtls.Verified(credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}}))
}
