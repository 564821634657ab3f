"""Pods in a cluster, with kubectl and Kustomize."""
