"""The manifests of packaging/kubernetes, against the schemas that Kubernetes
publishes, and against the program and the image that they start."""

import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

from place import PROGRAM, ROOT

FOLDER = ROOT / "packaging/kubernetes"
# The oldest that has the native `sleep` of preStop, and newer ones.
VERSIONS = ["1.31", "1.33", "1.35", "1.37"]


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def one(name, kind):
    [found] = [document for document in documents(name) if document["kind"] == kind]
    return found


class Kubernetes(unittest.TestCase):
    def test_every_document_is_valid_in_every_version(self):
        for name in ("sqlite.yaml", "postgres.yaml"):
            self.assertGreater(len(documents(name)), 4)
            for document in documents(name):
                for version in VERSIONS:
                    with self.subTest(file=name, kind=document["kind"], version=version):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_a_wrong_document_is_refused(self):
        wrong = one("postgres.yaml", "Deployment")
        wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)

    def test_the_program_takes_the_settings(self):
        for name in ("sqlite.yaml", "postgres.yaml"):
            settings = one(name, "ConfigMap")["data"]["rollcall.toml"]
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(settings)
                file.flush()
                done = subprocess.run([PROGRAM, "config", "check", "--config", file.name], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            for port in ("8080", "9090"):
                self.assertIn(f'"0.0.0.0:{port}"', settings)

    def test_pods_are_confined_and_probed_and_select_each_other(self):
        image = (ROOT / "packaging/Containerfile").read_text()
        for name, kind in (("sqlite.yaml", "StatefulSet"), ("postgres.yaml", "Deployment")):
            workload = one(name, kind)
            template = workload["spec"]["template"]
            pod, [container] = template["spec"], template["spec"]["containers"]
            self.assertIn(f"--uid {pod['securityContext']['runAsUser']} ", image)
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
            self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
            ports = {port["name"] for port in container["ports"]}
            for probe, path in (("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
                self.assertEqual(container[probe]["httpGet"]["path"], path)
                self.assertIn(container[probe]["httpGet"]["port"], ports)
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"] for volume in pod["volumes"]}
            volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
            self.assertEqual(mounted, volumes)
            labels = template["metadata"]["labels"]
            self.assertEqual(workload["spec"]["selector"]["matchLabels"], labels)
            for document in documents(name):
                spec = document.get("spec", {})
                if document["kind"] == "Service":
                    self.assertEqual(spec["selector"], labels)
                    self.assertLessEqual({port["targetPort"] for port in spec["ports"]}, ports)
                elif document["kind"] == "NetworkPolicy":
                    self.assertEqual(spec["podSelector"]["matchLabels"], labels)
                elif document["kind"] == "PodDisruptionBudget":
                    self.assertEqual(spec["selector"]["matchLabels"], labels)
                    self.assertLess(spec["minAvailable"], workload["spec"]["replicas"])
            text = (FOLDER / name).read_text()
            for secret in ("password:", "stringData", "kind: Secret"):
                self.assertNotIn(secret, text)


if __name__ == "__main__":
    unittest.main()
