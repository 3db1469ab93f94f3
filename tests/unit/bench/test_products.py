"""Start commands and configuration of the products that the gateway is compared with."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.bench import products
from tests.bench.products import PRODUCTS, Ports, Product

PORTS = Ports(own=4001, provider=4002, metrics=4003)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(products, "FOLDER", tmp_path)
    for product in PRODUCTS:
        (tmp_path / product.name).mkdir()
    return tmp_path


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_every_product_is_pointed_at_the_provider_on_loopback(product: Product, folder: Path) -> None:
    words = " ".join(products.command(product, PORTS))
    written = "".join(file.read_text() for file in (folder / product.name / "run").iterdir())
    everything = words + written + products.headers(product, PORTS)
    assert "$" not in words
    assert "127.0.0.1:4002" in everything or "port_value: 4002" in everything
    assert "4001" in everything


def test_rolter_authenticates_the_token_that_the_load_sends(folder: Path) -> None:
    rolter = next(product for product in PRODUCTS if product.name == "rolter")
    products.command(rolter, PORTS)
    config = tomllib.loads((folder / "rolter" / "run" / "rolter.toml").read_text())
    assert config["virtual_keys"][0]["key"] == products.TOKEN
    assert json.dumps(config["server"]["port"]) == "4001"


def test_a_product_is_installed_again_only_when_its_packages_change(folder: Path) -> None:
    installed: list[tuple[str, ...]] = []
    one = Product("nginx", "", lambda _, packages: installed.append(packages), ("a==1", "b==1"), "")
    assert not products.install(one)
    assert not products.install(one)
    assert not products.install(one._replace(packages=("a==2",)))
    assert installed == [("a==1", "b==1"), ("a==2",)]


def test_a_product_that_cannot_be_installed_says_why(folder: Path) -> None:
    def fail(_: Path, packages: tuple[str, ...]) -> None:
        raise OSError(f"no {packages[0]}")

    one = Product("nginx", "", fail, ("a==1",), "")
    assert products.install(one) == "cannot be installed: no a==1"
    assert products.install(one) == "cannot be installed: no a==1"
